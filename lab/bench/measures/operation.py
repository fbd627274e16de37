"""How long a retry of a million failed jobs takes beside a load of new ones, and how much later these are answered."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection

from haulier.domain.operation import OperationAction, OperationStatus
from haulier.postgres.connection import connect as own_connection
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.search.job_filter import JobFilter
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.enqueue import serving
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.servers import connect
from lab.waiting import pause, until

NAME = "operation"
TITLE = "A retry of 1,000,000 failed jobs beside 200 new ones a second"

JOBS, PER_SECOND, CONNECTIONS, BEFORE_SECONDS, MOST_SECONDS, EVERY_SECONDS = 1_000_000, 200, 8, 60.0, 900.0, 0.25
JOB = json.dumps({"kind": "noop", "payload": {"n": 1}})
# Each failed with its own payload, in a queue that no worker serves: the operation alone is the load.
FAILED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, last_error, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'failed_permanent', 'noop', 'elsewhere', 0, now(), 3, 3, 3, 0, 0, false,
        jsonb_build_object('n', n, 'text', md5(n::text)), 'no luck',
        jsonb_build_array(jsonb_build_object('attempt', 3, 'at', now(), 'error', 'no luck')),
        now() - n * interval '1 millisecond', now(), now()
    FROM generate_series(1, %s) AS n
"""


def entries() -> list[Entry]:
    """Return the one row."""
    return [Entry("retry", "retry of 1 M jobs", once, at_most=3)]


def once(bench: Bench) -> Figures:
    """Retry them all by one operation, and time what is posted before it and beside it."""
    jobs = bench.jobs(JOBS)
    worker = Haulier(settings={"WORKER_QUEUES": "default"})
    with worker.home(bench.server) as url, closing(own_connection(url)) as conn:
        with closing(connect(url)) as filling, filling.cursor() as cursor:
            cursor.execute(FAILED, (jobs,))
        bench.server.settle(url)
        with worker.working(url), serving(url) as port, _posted(port) as load:
            pause(bench.seconds(BEFORE_SECONDS, least=2.0))
            before = load.p99_ms()
            began = time.monotonic()
            order = Order(OperationAction.RETRY, JobFilter(queues=["elsewhere"]))
            operation = ops.start(conn, order, as_of=None, actor=None)
            until(
                lambda: ops.get_operation(conn, operation.id).status is OperationStatus.DONE,
                within=MOST_SECONDS,
                # The connections that post are threads of this process.
                every=EVERY_SECONDS,
                what="the operation is done",
            )
            took, beside = time.monotonic() - began, load.p99_ms()
        ended = ops.get_operation(conn, operation.id)
    if (ended.done, ended.skipped, ended.failed, load.failed) != (jobs, 0, 0, 0):
        raise RuntimeError(
            f"{ended.done} done, {ended.skipped} skipped, {ended.failed} failed; {load.failed} not taken"
        )
    return {
        "seconds": round(took, 1),
        "per_second": round(jobs / took),
        "p99_before": round(before, 1),
        "p99_beside": round(beside, 1),
        "slower": round(beside / before, 2),
    }


class _Load:
    """How long each POST took, from when it was due."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.failed = 0

    def p99_ms(self) -> float:
        """Return the 99th percentile of what came since the last call, and forget that."""
        taken, self.took = self.took, []
        return 1000 * statistics.quantiles(taken, n=100)[98]


@contextmanager
def _posted(port: int) -> Iterator[_Load]:
    """Enqueue at an even pace, by several connections."""
    load, stop = _Load(), threading.Event()

    def post(first: float) -> None:
        conn, due = HTTPConnection("127.0.0.1", port, timeout=30), first
        while not stop.wait(max(0.0, due - time.monotonic())):
            conn.request("POST", "/jobs", JOB, {"Content-Type": "application/json"})
            answer = conn.getresponse()
            answer.read()
            load.took.append(time.monotonic() - due)
            load.failed += answer.status != 201
            due += CONNECTIONS / PER_SECOND
        conn.close()

    began = time.monotonic()
    threads = [threading.Thread(target=post, args=(began + n / PER_SECOND,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(35)


TABLES = [
    PageTable(
        figure("seconds", "seconds"),
        figure("jobs/s", "per_second"),
        figure("p99 ms of POST /jobs before", "p99_before", 1),
        figure("during", "p99_beside", 1),
        figure("during / before", "slower", 2),
    )
]
TARGETS = [
    at_most("seconds", figure_of("retry", "seconds"), 600),
    at_most("p99 of POST /jobs during / before", figure_of("retry", "slower"), 2),
]
