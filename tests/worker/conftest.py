"""Real worker processes, with kinds that misbehave, and the ledger in which those kinds say what they did."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.job import Job, JobStatus, NewJob
from haulier.postgres.connection import connect
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.claims.wakeups import Knock, knocks, listen
from haulier.worker.link.lease import Lease
from lab.proxy import Proxy, proxy_to
from tests import queueing
from tests.conftest import PATIENCE, eventually
from tests.local.conftest import processes
from tests.worker.jobs import a_worker

ROOT = Path(__file__).parents[2]
# As a worker's POLL_SECONDS: no poll helps out within a test.
RARELY = 60
# A job that starts within this did not wait for a poll. How soon jobs start is what `make bench` measures.
WOKEN_WITHIN = RARELY / 3


class Clock:
    """A clock that a test sets forward."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
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
        return Counter(entry.job_id for entry in self.entries(event))


@dataclass
class Process:
    popen: subprocess.Popen
    log_file: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def kill(self) -> None:
        """Kill it as the kernel's out-of-memory killer does."""
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> int:
        return self.popen.wait(seconds)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@contextmanager
def spawning(database: str, direct: str, ledger: Ledger, folder: Path) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a worker process with these settings and waits until it works."""
    spawned: list[Process] = []

    def spawn(*, wait: bool = True, own_group: bool = False, before: Sequence[str] = (), **settings: object) -> Process:
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
                [*before, sys.executable, "worker.py"],
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
    with spawning(database, direct(database), ledger, tmp_path) as spawn:
        yield spawn


def enqueue_on(conn: Connection, kind: str, payload: dict | None = None, **options: object) -> Job:
    [receipt] = queueing.enqueue(conn, [NewJob(kind, payload or {}, **options)])
    assert receipt.job is not None
    return receipt.job


def finished_on(conn: Connection, job: Job, within: float = PATIENCE) -> Job:
    eventually(lambda: search.get(conn, job.id).status.is_final, within=within)
    return search.get(conn, job.id)


@dataclass(frozen=True)
class SharedWorker:
    """A worker process on a database of its own, for all tests of a module: a start takes longer than most jobs."""

    process: Process
    conn: Connection
    ledger: Ledger

    def enqueue(self, kind: str, payload: dict | None = None, **options: object) -> Job:
        return enqueue_on(self.conn, kind, payload, **options)

    def finished(self, job: Job) -> Job:
        return finished_on(self.conn, job)

    def run(self, kind: str, payload: dict | None = None, **options: object) -> Job:
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
def few_connections(sql, database: str) -> Iterator[Callable[[int], str]]:
    """Give a function that returns a DSN under whose role there may be no more than so many connections."""
    role = f"haulier_few_{uuid.uuid4().hex[:12]}"

    def few_connections(most: int) -> str:
        sql(
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {most}; GRANT ALL ON SCHEMA haulier TO {role};"
            f" GRANT ALL ON ALL TABLES IN SCHEMA haulier TO {role}"
        )
        values = {**parse_dsn(database), "user": role, "password": ""}
        return "postgresql://?" + "&".join(f"{name}={quote(value)}" for name, value in values.items())

    yield few_connections
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
    sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def metric() -> Callable[[int, str], float]:
    """Give a function that reads one metric, named as the port shows it; NaN: it is not there."""

    def metric(port: int, name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text
        return float(dict(line.rsplit(" ", 1) for line in text.splitlines()).get(name, "nan"))

    return metric


def assert_all_beat(text: str) -> None:
    """Check the ages in what the port of the metrics shows: each thread's is there, and is short."""
    ages = dict(re.findall(r"^worker_(\w+)_age_seconds ([0-9.e+-]+)$", text, flags=re.MULTILINE))
    assert ages.keys() == {"beat", "poll", "listen", "housekeeping"}
    assert all(0 <= float(age) < 30 for age in ages.values())


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def enqueue(conn) -> Callable[..., Job]:
    return partial(enqueue_on, conn)


@pytest.fixture
def start_job(start_jobs) -> Callable[..., Job]:
    """Give a function that enqueues one job of a kind, and returns it when its handler runs."""
    return lambda kind, payload=None, **options: start_jobs(1, kind, payload, **options)[0]


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
    return partial(finished_on, conn)


@pytest.fixture
def succeed(finished) -> Callable[..., None]:
    """Give a function that waits until these jobs have ended, and fails unless each succeeded in one attempt."""

    def succeed(*jobs: Job) -> None:
        ends = {(job.status, job.attempts, job.crashes, job.last_error) for job in map(finished, jobs)}
        assert ends == {(JobStatus.SUCCEEDED, 1, 0, None)}

    return succeed


@pytest.fixture
def sleepers(sql) -> Callable[[], int]:
    return lambda: sql("SELECT count(*) FROM haulier.sleeper")[0][0]


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
def fall_asleep(sql) -> Callable[[int], None]:
    """Give a function that returns when so many workers sleep, and have looked for the last time before they poll."""
    asleep = "SELECT count(*) FROM haulier.sleeper WHERE since < now() - interval '0.5 s'"
    return lambda workers=1: eventually(lambda: sql(asleep) == [(workers,)])


@pytest.fixture
def lease(conn) -> Lease:
    lease = Lease(30)
    lease.registered(a_worker(conn), time.monotonic())
    return lease


@pytest.fixture
def heard(database, direct) -> Iterator[Callable[[], list[Knock]]]:
    """Give a function that returns the knocks that have come since it was last called."""
    with closing(connect(direct(database))) as conn:
        listen(conn)
        ear = knocks(conn, wait=0.05, probe=10)

        # None: nothing more has come.
        yield lambda: list(iter(lambda: next(ear), None))


def exists(pid: int) -> bool:
    """Return whether the process is there, and no corpse."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    return [process.pid for process in processes() if process.parent == pid]
