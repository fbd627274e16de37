"""Real worker processes, with kinds that misbehave, and the ledger in which those kinds say what they did."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.job import Job, NewJob
from haulier.postgres.connection import connect
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.claims.wakeups import Knock, knocks, listen
from lab.proxy import Proxy, proxy_to
from tests import queueing
from tests.conftest import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
# As a worker's POLL_SECONDS: no poll helps out within a test.
RARELY = 60
# A job that starts within this did not wait for a poll. How soon jobs start is what `make bench` measures.
WOKEN_WITHIN = RARELY / 3


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


class Entry(NamedTuple):
    """One line that a handler wrote. Units: at is of the machine's monotonic clock."""

    event: str
    job_id: str
    attempt: int
    pid: int
    at: float


class Ledger:
    """What the handlers of all worker processes of a test have done, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, event: str | None = None, job: Job | None = None) -> list[Entry]:
        """Return the entries, or only those of an event or a job."""
        # What follows the last end of a line is being written at this moment.
        whole, _, _ = self.path.read_text().rpartition("\n") if self.path.exists() else ("", "", "")
        lines = (line.split() for line in whole.splitlines())
        entries = [Entry(e, j, int(a), int(p), float(at)) for e, j, a, p, at in lines]
        return [each for each in entries if event in (None, each.event) and (job is None or each.job_id == str(job.id))]

    def counts(self, event: str) -> Counter[str]:
        """Return how often each job had this event."""
        return Counter(entry.job_id for entry in self.entries(event))


@dataclass
class Process:
    """A worker process."""

    popen: subprocess.Popen
    log_file: Path
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.pid = self.popen.pid

    @property
    def log(self) -> str:
        """Return what it has said so far."""
        return self.log_file.read_text()

    def kill(self) -> None:
        """Kill it as the kernel's out-of-memory killer does."""
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.popen.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return its exit code."""
        return self.popen.wait(seconds)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Give the test's own ledger."""
    return Ledger(tmp_path / "ledger")


@contextmanager
def spawning(database: str, direct: str, ledger: Ledger, folder: Path) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a worker process with these settings and waits until it works."""
    spawned: list[Process] = []

    def spawn(*, wait: bool = True, own_group: bool = False, **settings: object) -> Process:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": database,
            # If both are the same there is no pool, and workers listen as those without the setting do.
            "DATABASE_DIRECT_URL": "" if direct == database else direct,
            "HAULIER_KINDS": "kinds_of_tests",
            "TEST_LEDGER": str(ledger.path),
            "WORKER_METRICS_PORT": "0",
            "LEASE_SECONDS": "3",
            "LOG_LEVEL": "DEBUG",
            **{name: str(value) for name, value in settings.items()},
        }
        log_file = folder / f"worker-{len(spawned)}.log"
        with log_file.open("w") as log:
            popen = subprocess.Popen(
                [sys.executable, "worker.py"],
                cwd=ROOT,
                env=environ,
                stdout=log,
                stderr=log,
                process_group=0 if own_group else None,
            )
        process = Process(popen, log_file)
        spawned.append(process)
        if wait:
            eventually(lambda: "registered as worker" in process.log)
        return process

    yield spawn
    for process in spawned:
        if process.popen.poll() is None:
            process.kill()
        print(f"--- {process.log_file.name}\n{process.log[-6000:]}")


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    """Give a way to the database that can be cut; ask for it before `spawn_worker`, so that it outlives the workers."""
    with proxy_to(database) as proxy:
        yield proxy


@pytest.fixture
def spawn_worker(
    database: str, direct: Callable[[str], str], ledger: Ledger, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a worker process with these settings and waits until it works."""
    with spawning(database, direct(database), ledger, tmp_path) as spawn:
        yield spawn


def enqueue_on(conn: Connection, kind: str, payload: dict | None = None, **options: object) -> Job:
    """Enqueue one job of a kind, with this payload and these options."""
    [receipt] = queueing.enqueue(conn, [NewJob(kind, payload or {}, **options)])
    assert receipt.job is not None
    return receipt.job


def finished_on(conn: Connection, job: Job, within: float = PATIENCE) -> Job:
    """Wait until the job has ended, and return it."""
    eventually(lambda: search.get(conn, job.id).status.is_final, within=within)
    return search.get(conn, job.id)


@dataclass(frozen=True)
class SharedWorker:
    """A worker process on a database of its own, for all tests of a module: a start takes longer than most jobs."""

    process: Process
    conn: Connection
    ledger: Ledger

    def enqueue(self, kind: str, payload: dict | None = None, **options: object) -> Job:
        """Enqueue one job."""
        return enqueue_on(self.conn, kind, payload, **options)

    def finished(self, job: Job) -> Job:
        """Wait until the job has ended, and return it."""
        return finished_on(self.conn, job)

    def run(self, kind: str, payload: dict | None = None, **options: object) -> Job:
        """Enqueue one job, and return it when it has ended."""
        return self.finished(self.enqueue(kind, payload, **options))

    def start(self, kind: str, payload: dict | None = None, **options: object) -> tuple[Job, Entry]:
        """Enqueue one job, and return it when its handler runs, with what the handler wrote."""
        job = self.enqueue(kind, payload, **options)
        [entry] = eventually(lambda: self.ledger.entries("start", job))
        return job, entry

    def cancel(self, job: Job) -> Job:
        """Cancel a job that runs, and return it when it has ended."""
        assert job_acts.cancel(self.conn, job.id) is False
        return self.finished(job)


@pytest.fixture(scope="module")
def share_worker(
    _make_migrated_database: Callable[[], str],
    _drop_database: Callable[[str], None],
    direct: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., SharedWorker]]:
    """Give a function that starts a worker with these settings, which lives until the module's last test has ended."""
    with ExitStack() as stack:

        def share(**settings: object) -> SharedWorker:
            dsn, folder = _make_migrated_database(), tmp_path_factory.mktemp("shared")
            stack.callback(_drop_database, dsn)
            conn, ledger = stack.enter_context(closing(connect(dsn))), Ledger(folder / "ledger")
            spawn = stack.enter_context(spawning(dsn, direct(dsn), ledger, folder))
            return SharedWorker(spawn(**settings), conn, ledger)

        yield share


@pytest.fixture
def worker(shared: SharedWorker) -> Iterator[SharedWorker]:
    """Give the module's worker, its fixture `shared`; it must outlive the test, which shows its log if it fails."""
    yield shared
    print(f"--- {shared.process.log_file}\n{shared.process.log[-6000:]}")
    assert shared.process.popen.poll() is None


@pytest.fixture
def few_connections(conn, database: str) -> Iterator[Callable[[int], str]]:
    """Give a function that returns a DSN under whose role there may be no more than so many connections."""
    role = f"haulier_few_{uuid.uuid4().hex[:12]}"

    def few_connections(most: int) -> str:
        with conn.cursor() as cursor:
            cursor.execute(
                f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {most}; GRANT ALL ON SCHEMA haulier TO {role};"
                f" GRANT ALL ON ALL TABLES IN SCHEMA haulier TO {role}"
            )
        return "postgresql://?" + "&".join(
            f"{name}={quote(value)}" for name, value in {**parse_dsn(database), "user": role, "password": ""}.items()
        )

    yield few_connections
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
        cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def metric() -> Callable[[int, str], float]:
    """Give a function that reads one metric, named as the port shows it; NaN: it is not there."""

    def metric(port: int, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            values = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines())
        return float(values.get(name, "nan"))

    return metric


@pytest.fixture
def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def enqueue(conn) -> Callable[..., Job]:
    """Give a function that enqueues one job of a kind, with this payload and these options."""
    return partial(enqueue_on, conn)


@pytest.fixture
def start_job(enqueue, ledger) -> Callable[..., Job]:
    """Give a function that enqueues one job of a kind, and returns it when its handler runs."""

    def start_job(kind: str, payload: dict | None = None, **options: object) -> Job:
        job = enqueue(kind, payload, **options)
        eventually(lambda: ledger.entries("start", job))
        return job

    return start_job


@pytest.fixture
def start_jobs(enqueue, ledger) -> Callable[..., list[Job]]:
    """Give a function that enqueues `count` jobs of a kind, and returns them when all their handlers run."""

    def start_jobs(count: int, kind: str, payload: dict | None = None, **options: object) -> list[Job]:
        jobs = [enqueue(kind, payload, **options) for _ in range(count)]
        eventually(lambda: all(ledger.entries("start", job) for job in jobs))
        return jobs

    return start_jobs


@pytest.fixture
def finished(conn) -> Callable[..., Job]:
    """Give a function that waits until the job has ended, and returns it."""
    return partial(finished_on, conn)


@pytest.fixture
def sleepers(conn: Any) -> Callable[[], int]:
    """Give a function that returns how many workers sleep."""

    return lambda: _count(conn, "haulier.sleeper")


def _count(conn: Connection, rows: str) -> int:
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {rows}")
        return cursor.fetchone()[0]


@pytest.fixture
def latency(enqueue, ledger) -> Callable[[], float]:
    """Give a function that enqueues a job and returns how long it took to start. Units: seconds."""

    def latency() -> float:
        began = time.monotonic()
        job = enqueue("t.note")
        [start] = eventually(lambda: ledger.entries("start", job), within=2 * RARELY)
        return start.at - began

    return latency


@pytest.fixture
def fall_asleep(conn) -> Callable[[int], None]:
    """Give a function that returns when so many workers sleep, and have looked for the last time before they poll."""
    asleep = "haulier.sleeper WHERE since < now() - interval '0.5 s'"
    return lambda workers=1: eventually(lambda: _count(conn, asleep) == workers)


@pytest.fixture
def heard(database, direct) -> Iterator[Callable[[], list[Knock]]]:
    """Give a function that returns the knocks that have come since it was last called."""
    with closing(connect(direct(database))) as conn:
        listen(conn)
        ear = knocks(conn, wait=0.05, probe=10)

        # None: nothing more has come.
        yield lambda: list(iter(lambda: next(ear), None))
