"""A worker among rows and statements that the database refuses, and what it said meanwhile."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, NewJob
from tests import queueing
from tests.conftest import PATIENCE, eventually
from tests.isolation import findings
from tests.isolation.rows import Rows, refusable_rows
from tests.isolation.scene import EXPIRED
from tests.isolation.wire import RefusingProxy, refusing_proxy_to

# Fixtures: pytest finds them by their names in here, and one that asks for another is given it by its parameter's.
from tests.worker.conftest import (  # noqa: F401
    Process,
    enqueue,
    finished,
    free_port,
    ledger,
    metric,
    spawn_worker,
)

# Under `make isolation`: every statement with every error, and what is seen goes into the docs.
# How many errors each statement is refused with in the long form.
ERRORS = int(os.environ.get("ISOLATION_LONG") or 0)
IS_LONG = ERRORS > 0


@pytest.fixture(autouse=True)
def _no_partition_is_left(conn: Connection) -> Iterator[None]:
    """Drop the scene's expired partition if the test was over before a worker had."""
    yield
    with conn.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS haulier.{EXPIRED}")


@pytest.fixture
def rows(conn: Connection) -> Iterator[Rows]:
    """Give the means to refuse rows."""
    with refusable_rows(conn) as rows:
        yield rows


@pytest.fixture
def wire(database: str) -> Iterator[RefusingProxy]:
    """Give a proxy that lets statements fail."""
    with refusing_proxy_to(database) as proxy:
        yield proxy


@pytest.fixture
def worker(spawn_worker: Callable[..., Process]) -> Callable[..., Process]:  # noqa: F811 (as above)
    """Give a function that starts a worker whose log can be counted."""

    def worker(**settings: object) -> Process:
        return spawn_worker(
            **{"WORKER_THREADS": 4, "LEASE_SECONDS": 2, "LOG_FORMAT": "json", "LOG_LEVEL": "INFO", **settings}
        )

    return worker


@pytest.fixture
def enqueue_many(conn: Connection) -> Callable[..., list[Job]]:
    """Give a function that enqueues `count` jobs at once."""

    def enqueue_many(count: int, kind: str = "t.note", **options: Any) -> list[Job]:
        receipts = queueing.enqueue(conn, [NewJob(kind, {}, **options) for _ in range(count)])
        return [receipt.job for receipt in receipts if receipt.job is not None]

    return enqueue_many


@pytest.fixture
def ended(conn: Connection) -> Callable[[], dict[UUID, tuple[str, int]]]:
    """Give a function that returns the jobs that have ended, with their status and charged attempts."""

    def ended() -> dict[UUID, tuple[str, int]]:
        with conn.cursor() as cursor:
            cursor.execute("SELECT id, status, attempts FROM haulier.finished_job")
            return {id: (status, attempts) for id, status, attempts in cursor.fetchall()}

    return ended


@pytest.fixture
def record() -> Callable[..., None]:
    """Give a function that keeps what a test has shown for the docs, if `make isolation` runs it."""
    return findings.record if IS_LONG else lambda *shown, **part: None


def refused_jobs(port: int, statement: str) -> float:
    """Return how many jobs the worker behind this port counts as refused at this."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    beginning = f'worker_jobs_refused_total{{statement="{statement}"}} '
    return sum(float(line.removeprefix(beginning)) for line in text.splitlines() if line.startswith(beginning))


class Beats:
    """When the workers beat, by the database's clock, looked at now and then."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._seen: set[datetime] = set()
        self._began_at = time.monotonic()

    def look(self) -> bool:
        """Look; True, so that it may stand in a condition."""
        with self._conn.cursor() as cursor:
            cursor.execute("SELECT beat_at FROM haulier.worker WHERE beat_at >= now() - lease")
            self._seen.update(beat_at for (beat_at,) in cursor.fetchall())
        return True

    def go_on(self, lease_seconds: float) -> bool:
        """Return whether there were two thirds of the beats that the time would hold, at three a lease."""
        expected = 3 * (time.monotonic() - self._began_at) / lease_seconds
        return len(self._seen) >= expected * 2 / 3 - 1


@pytest.fixture
def beats(conn: Connection) -> Callable[[], Beats]:
    """Give a function that begins to watch the beats."""
    return lambda: Beats(conn)


def said(process: Process) -> list[dict[str, Any]]:
    """Return what the process has logged; a line that is not JSON is a level of its own."""
    records = []
    for line in process.log.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            records.append({"level": "NOT JSON", "message": line})
    return records


def named(process: Process) -> Counter[str]:
    """Return how often the log names each job as refused by the database."""
    found: Counter[str] = Counter()
    for record in said(process):
        if record["message"].startswith("the database refuses"):
            for job_id in {record.get("job_id"), *record["message"].replace(",", " ").split()}:
                if job_id and len(job_id) == 36:
                    found[job_id] += 1
    return found


def complaints(process: Process) -> list[str]:
    """Return what it has logged above INFO, and what is no record of the log at all, such as a bare traceback."""
    return [record["message"] for record in said(process) if record["level"] not in ("DEBUG", "INFO")]


@contextmanager
def unhurt(process: Process, *, at_most: int) -> Iterator[None]:
    """Hold that the process and its threads live through the block, with at most this many complaints."""
    try:
        yield
    finally:
        lines = complaints(process)
        assert process.popen.poll() is None, f"the process ended with {process.popen.poll()}: {lines[-3:]}"
    assert [line for line in lines if "has died" in line or "Traceback" in line] == []
    assert len(lines) <= at_most, Counter(line[:60] for line in lines).most_common(5)


def until(predicate: Callable[[], Any], *, within: float = PATIENCE) -> bool:
    """Wait for it, and return whether it came: for a promise that is judged with others afterwards."""
    try:
        eventually(predicate, within=within)
    except AssertionError:
        return False
    return True
