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
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from psycopg2.extensions import parse_dsn

from haulier.domain.job import Job, NewJob
from haulier.postgres.connection import connect
from haulier.queue import produce
from haulier.queue.consume.wakeups import Knock, knocks, listen
from tests import queueing
from tests.conftest import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
# As a worker's POLL_SECONDS: no poll helps out within a test.
RARELY = 60
# A job that starts within this did not wait for a poll. How soon jobs start is what `make bench` measures.
WOKEN_WITHIN = RARELY / 3


class Clock:
    """A clock that goes on when the test tells it to."""

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
        """Return the entries, of one event or one job if told."""
        # What follows the last end of a line is one that is being written at this moment.
        whole, _, _ = self.path.read_text().rpartition("\n") if self.path.exists() else ("", "", "")
        found = [
            Entry(e, j, int(a), int(p), float(at)) for e, j, a, p, at in (line.split() for line in whole.splitlines())
        ]
        return [
            entry for entry in found if event in (None, entry.event) and (job is None or entry.job_id == str(job.id))
        ]

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


@pytest.fixture
def spawn_worker(
    database: str, direct: Callable[[str], str], ledger: Ledger, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a worker process with these settings and waits until it works."""
    spawned: list[Process] = []

    def spawn(*, wait: bool = True, own_group: bool = False, **settings: object) -> Process:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": database,
            # Where both are the same there is no pool, and workers listen as those without the setting do.
            "DATABASE_DIRECT_URL": "" if direct(database) == database else direct(database),
            "HAULIER_KINDS": "kinds_of_tests",
            "TEST_LEDGER": str(ledger.path),
            "WORKER_METRICS_PORT": "0",
            "LEASE_SECONDS": "3",
            "LOG_LEVEL": "DEBUG",
            **{name: str(value) for name, value in settings.items()},
        }
        log_file = tmp_path / f"worker-{len(spawned)}.log"
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
    """Give a function that reads one metric without labels from a worker's port."""

    def metric(port: int, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            [line] = [line for line in response.read().decode().splitlines() if line.startswith(name + " ")]
        return float(line.split()[1])

    return metric


@pytest.fixture
def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def enqueue(conn) -> Callable[..., Job]:
    """Give a function that enqueues one job of a kind, with this payload and these options."""

    def enqueue(kind: str, payload: dict | None = None, **options: object) -> Job:
        [receipt] = queueing.enqueue(conn, [NewJob(kind, payload or {}, **options)])
        assert receipt.job is not None
        return receipt.job

    return enqueue


@pytest.fixture
def finished(conn) -> Callable[..., Job]:
    """Give a function that waits until the job has ended, and returns it."""

    def finished(job: Job, within: float = PATIENCE) -> Job:
        eventually(lambda: produce.get(conn, job.id).status.is_final, within=within)
        return produce.get(conn, job.id)

    return finished


@pytest.fixture
def sleepers(conn: Any) -> Callable[[], int]:
    """Give a function that returns how many workers sleep."""

    def sleepers() -> int:
        with conn.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM haulier.sleeper")
            return cursor.fetchone()[0]

    return sleepers


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

    def sleepers() -> int:
        with conn.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM haulier.sleeper WHERE since < now() - interval '0.5 s'")
            return cursor.fetchone()[0]

    def fall_asleep(workers: int = 1) -> None:
        eventually(lambda: sleepers() == workers)

    return fall_asleep


@pytest.fixture
def heard(database, direct) -> Iterator[Callable[[], list[Knock]]]:
    """Give a function that returns the knocks that have come since it was last called."""
    with closing(connect(direct(database))) as conn:
        listen(conn)
        ear = knocks(conn, wait=0.05, probe=10)

        def heard() -> list[Knock]:
            found = []
            while (knock := next(ear)) is not None:
                found.append(knock)
            return found

        yield heard
