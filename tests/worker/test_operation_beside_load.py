"""A retry of a million failed jobs beside 200 new ones a second. It …

Its figures are those of a quiet machine: `pytest -m slow -s`. With OPERATION_JOBS=20000 it is a rehearsal.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from haulier.domain.operation import OperationAction, OperationStatus
from haulier.queue.produce import operations as ops
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.operations import Order
from tests.conftest import eventually
from tests.web import gunicorn

JOBS = int(os.environ.get("OPERATION_JOBS", "1000000"))
PER_SECOND, THREADS, BEFORE_SECONDS = 200, 8, 30.0
MOST_SECONDS, MOST_SLOWER = 600.0, 2.0
# Each failed with its own payload, in a queue that no worker serves: the load is that of the operation alone.
FAILED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, last_error, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'failed_permanent', 't.note', 'elsewhere', 0, now(), 3, 3, 3, 0, 0, false,
        jsonb_build_object('n', n, 'text', md5(n::text)), 'no luck',
        jsonb_build_array(jsonb_build_object('attempt', 3, 'at', now(), 'error', 'no luck')),
        now() - n * interval '1 millisecond', now(), now()
    FROM generate_series(%s, %s) AS n
"""
JOB = json.dumps({"kind": "t.note", "payload": {}})


class Load:
    """How long each POST took, from when it was due."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.failed = 0

    def p99(self) -> float:
        """Return the p99 of what came since the last call, and forget that."""
        taken, self.took = self.took, []
        return statistics.quantiles(taken, n=100)[98]


@contextmanager
def loaded(url: str) -> Iterator[Load]:
    """Enqueue at an even pace, by several connections."""
    load, stop = Load(), threading.Event()
    host = urlsplit(url).netloc

    def post(first: float) -> None:
        conn, due = HTTPConnection(host, timeout=30), first
        while not stop.wait(max(0.0, due - time.monotonic())):
            conn.request("POST", "/jobs", JOB, {"Content-Type": "application/json"})
            answer = conn.getresponse()
            answer.read()
            load.took.append(time.monotonic() - due)
            load.failed += answer.status != 201
            due += THREADS / PER_SECOND
        conn.close()

    began = time.monotonic()
    threads = [threading.Thread(target=post, args=(began + n / PER_SECOND,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(35)


@pytest.mark.slow
def test_takes_ten_minutes_at_most_and_the_api_is_half_as_quick_at_worst(database, conn, sql, spawn_worker, tmp_path):
    for first in range(0, JOBS, 50_000):
        sql(FAILED, first + 1, min(first + 50_000, JOBS))
    sql("VACUUM ANALYZE haulier.finished_job")
    kinds = {"HAULIER_KINDS": "tests.worker.kinds_of_tests", "TEST_LEDGER": str(tmp_path / "none"), "LOG_JOBS": "off"}
    spawn_worker(WORKER_QUEUES="default", LOG_LEVEL="INFO", LEASE_SECONDS=30)

    with gunicorn(database, eventually, **kinds) as server, loaded(server.url) as load:
        threading.Event().wait(BEFORE_SECONDS)
        before = load.p99()
        order = Order(OperationAction.RETRY, JobFilter(queues=["elsewhere"]))
        began = time.monotonic()
        operation = ops.start(conn, order, as_of=None, actor=None)
        eventually(lambda: ops.get_operation(conn, operation.id).status is OperationStatus.DONE, within=MOST_SECONDS)
        took, beside = time.monotonic() - began, load.p99()

    print(
        f"\n{JOBS:,} jobs in {took:.0f} s; p99 of POST /jobs:"
        f" {1000 * before:.1f} ms before, {1000 * beside:.1f} ms beside"
    )
    ended = ops.get_operation(conn, operation.id)
    assert (ended.done, ended.skipped, ended.failed, load.failed) == (JOBS, 0, 0, 0)
    assert took < MOST_SECONDS
    assert beside <= MOST_SLOWER * before
