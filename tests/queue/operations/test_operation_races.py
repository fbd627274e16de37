"""An operation while everybody else is at work on the same jobs: it ..."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from uuid import UUID, uuid4

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import HaulierError
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction, OperationStatus
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims, jobs
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.operations.work_off import Pace, Worker, work_off
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.conftest import PATIENCE, Sql
from tests.touched import Touched, touching

FAILED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), CASE WHEN n % 3 = 0 THEN 'cancelled' ELSE 'failed_permanent' END, 'mail', 'default', 0,
        now(), 0, 0, 3, 0, 0, false, '{}', '[]', now() - n * interval '1 second', now(), now()
    FROM generate_series(1, 80) AS n
    RETURNING id
"""
WAITING = """
    INSERT INTO haulier.job (kind, payload, created_at)
    SELECT 'mail', '{}', now() - n * interval '1 second' FROM generate_series(1, 80) AS n
    RETURNING id
"""
CHANGES = {"priority": 5, "queue": "bulk", "delay_seconds": 0}


@pytest.fixture
def touched(sql: Sql) -> Iterator[Touched]:
    """Give the ledger of who touched which job."""
    with touching(sql) as ledger:
        yield ledger


def rival(database: str, ids: list[UUID], chance: random.Random, barrier: threading.Barrier) -> None:
    """Do to the jobs what others do, in any order; some of it in savepoints of transactions that commit late."""
    with closing(connect(database, application_name="haulier test rival")) as conn:
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
        acts: list[Callable[[], object]] = [
            lambda: jobs.retry(conn, chance.choice(ids)),
            lambda: jobs.cancel(conn, chance.choice(ids)),
            lambda: queueing.enqueue(conn, [NewJob("mail", {})]),
            lambda: finish(conn, worker, chance),
            lambda: late(conn, chance.choice(ids), chance),
        ]
        barrier.wait(PATIENCE)
        for _ in range(40):
            with suppress(HaulierError, errors.DeadlockDetected):
                chance.choice(acts)()


def finish(conn: Connection, worker: UUID, chance: random.Random) -> None:
    for job in queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=()):
        outcome = chance.choice([Outcome.complete({}), Outcome.fail_for_good("no luck"), Outcome.fail("no", delay=0)])
        claims.settle(conn, [Settlement(Fence.of(job), outcome)])


def late(conn: Connection, job_id: UUID, chance: random.Random) -> None:
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; SAVEPOINT one")
        cursor.execute("UPDATE haulier.job SET updated_at = now() WHERE id = %s AND status <> 'running'", [job_id])
        cursor.execute("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
        cursor.execute("RELEASE one; SELECT pg_sleep(%s)", [chance.uniform(0, 0.02)])
        cursor.execute(chance.choice(["COMMIT", "ROLLBACK"]))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("action", OperationAction)
def test_acts_once_and_on_no_job_but_as_it_was_previewed(database, conn, sql, touched, action, seed):
    ids = [each for (each,) in [*sql(FAILED), *sql(WAITING)]]
    order = Order(action, JobFilter(), changes=CHANGES if action is OperationAction.CHANGE else {})
    barrier = threading.Barrier(5)
    stop = threading.Event()
    rivals = [
        threading.Thread(target=rival, args=(database, ids, random.Random(10 * seed + n), barrier)) for n in range(2)
    ]

    def work() -> None:
        with closing(connect(database, application_name="haulier test worker")) as mine:
            by = Worker(uuid4(), 0.2, 0.2)
            barrier.wait(PATIENCE)
            while not stop.is_set():
                with suppress(errors.DeadlockDetected):
                    work_off(mine, by, most_jobs=7, pace=Pace(3, lambda: not stop.wait(0.001)))
                stop.wait(0.005)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in (*rivals, *workers):
        thread.start()
    try:
        barrier.wait(PATIENCE)
        preview = ops.preview(conn, order)
        seen = touched.last()
        operation = ops.start(conn, order, as_of=preview.as_of, actor=None)
        for _ in range(2000):
            ended = ops.get_operation(conn, operation.id)
            if ended.status is not OperationStatus.RUNNING and ended.status is not OperationStatus.WAITING:
                break
            stop.wait(0.01)
    finally:
        for thread in rivals:
            thread.join(PATIENCE)
        stop.set()
        for thread in workers:
            thread.join(PATIENCE)

    acted, before = touched.by(operation.id), touched.before(operation.id)
    assert ended.status is OperationStatus.DONE
    assert touched.twice(operation.id) == []
    assert {each: before[each] for each in acted} == {each: seen.get(each) for each in acted}
    assert len(acted) == ended.done > 0
    assert ended.done + ended.skipped + ended.failed == ended.matched == preview.matched
