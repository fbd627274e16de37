"""A worker among rows and statements that the database refuses, and what it said meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, NewJob
from haulier.queue.upkeep.partitions import ensure_partitions
from tests import queueing
from tests.conftest import PATIENCE, Sql, eventually, sql_on
from tests.isolation import report
from tests.isolation.rows import Rows, refusable_rows
from tests.isolation.scene import EXPIRED
from tests.isolation.wire import RefusingProxy, refusing_proxy_to

# Fixtures: pytest finds them by their names in here, and one that asks for another is given it by its parameter's.
from tests.worker.conftest import Process, enqueue, finished, free_port, ledger, metric, spawn_worker  # noqa: F401

# Under `make isolation`: every statement with every error, and what is seen goes into the docs.
# How many errors each statement is refused with in the long form.
ERRORS = int(os.environ.get("ISOLATION_LONG") or 0)
IS_LONG = ERRORS > 0


@pytest.fixture(autouse=True)
def _history_is_as_before(conn: Connection) -> Iterator[None]:
    """Drop the scene's expired partition if the test was over before a worker had, and make what it has dropped."""
    yield
    sql_on(conn)(f"DROP TABLE IF EXISTS haulier.{EXPIRED}")
    ensure_partitions(conn, retention_days=30)


@pytest.fixture
def rows(conn: Connection) -> Iterator[Rows]:
    with refusable_rows(conn) as rows:
        yield rows


@pytest.fixture
def wire(database: str) -> Iterator[RefusingProxy]:
    with refusing_proxy_to(database) as proxy:
        yield proxy


@pytest.fixture
def worker(spawn_worker: Callable[..., Process]) -> Callable[..., Process]:  # noqa: F811 (as above)
    """Give a function that starts a worker whose log can be counted."""
    usual = {"WORKER_THREADS": 4, "LEASE_SECONDS": 2, "LOG_FORMAT": "json", "LOG_LEVEL": "INFO"}
    return lambda **settings: spawn_worker(**{**usual, **settings})


@pytest.fixture
def enqueue_many(conn: Connection) -> Callable[..., list[Job]]:
    def enqueue_many(count: int, kind: str = "t.note", payload: dict[str, Any] | None = None) -> list[Job]:
        jobs = [NewJob(kind, payload or {}) for _ in range(count)]
        return [receipt.job for receipt in queueing.enqueue(conn, jobs) if receipt.job is not None]

    return enqueue_many


@pytest.fixture
def ended(sql: Sql) -> Callable[[], dict[UUID, tuple[str, int]]]:
    """Give a function that returns the jobs that have ended, with their status and charged attempts."""
    return lambda: {
        id: (status, attempts) for id, status, attempts in sql("SELECT id, status, attempts FROM haulier.finished_job")
    }


@pytest.fixture
def record() -> Callable[..., None]:
    """Give a function that keeps what a test has shown for the docs, if `make isolation` runs it."""
    return report.record if IS_LONG else lambda *shown, **part: None


class Beats:
    """When the workers beat, by the database's clock, looked at now and then."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._seen: set[tuple[datetime]] = set()
        self._began_at = time.monotonic()

    def look(self) -> bool:
        """Look; True, so that it may stand in a condition."""
        self._seen.update(self._sql("SELECT beat_at FROM haulier.worker WHERE beat_at >= now() - lease"))
        return True

    def go_on(self, lease_seconds: float) -> bool:
        """Return whether there were two thirds of the beats that the time would hold, at three a lease."""
        expected = 3 * (time.monotonic() - self._began_at) / lease_seconds
        return len(self._seen) >= expected * 2 / 3 - 1


@pytest.fixture
def beats(sql: Sql) -> Callable[[], Beats]:
    return lambda: Beats(sql)


def said(process: Process, having: str = "") -> list[dict[str, Any]]:
    """Return what the process has logged in lines that have this; a line that is not JSON is a level of its own."""
    records = []
    for line in process.log.splitlines():
        try:
            records += [json.loads(line)] if having in line else []
        except ValueError:
            records.append({"level": "NOT JSON", "message": line})
    return records


def named(process: Process) -> Counter[str]:
    """Return how often the log names each job as refused by the database."""
    # Tests ask again and again while they wait.
    refusals = [each for each in said(process, "the database refuses") if each["message"].startswith("the database")]
    words = [{each.get("job_id"), *each["message"].replace(",", " ").split()} for each in refusals]
    return Counter(word for of_one in words for word in of_one if word and len(word) == 36)


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
