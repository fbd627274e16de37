"""An operation is bound to what its preview saw, also while others are at work on the same jobs. It ..."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import HaulierError, PreviewNotKept
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus
from haulier.domain.outcome import Outcome
from haulier.postgres.sql_files import PARTS
from haulier.queue import claims, jobs
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order
from haulier.queue.operations.work_off import Pace, Worker, work_off
from haulier.queue.search import bounded_scan
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.queue.operations.operating import counts, status_of
from tests.queue.plans import ended
from tests.touched import touching


def test_leaves_alone_what_came_or_changed_after_its_preview(conn, failed, start, preview, done_by):
    first, second = failed(), failed()
    seen = preview("retry")
    later = failed()
    jobs.retry(conn, first)

    operation = done_by(start("retry", as_of=seen.as_of))

    assert (seen.matched, seen.matched_is) == (2, MatchedIs.EXACT)
    assert counts(operation) == (2, 1, 1, 0)
    assert status_of(conn, first, second, later) == ["queued", "queued", "failed_permanent"]


@pytest.mark.parametrize("in_savepoint", [False, True])
def test_leaves_alone_what_was_written_before_its_preview_and_committed_after_it(
    open_conn, conn, enqueue, start, preview, done_by, in_savepoint
):
    other = sql_on(open_conn())
    other("BEGIN; SELECT pg_current_xact_id();" + "SAVEPOINT one" * in_savepoint)
    [(hidden,)] = other("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}') RETURNING id")
    if in_savepoint:
        other("RELEASE one")
    known = enqueue().id
    seen = preview("cancel")
    other("COMMIT")

    operation = done_by(start("cancel", as_of=seen.as_of))

    assert (seen.matched, counts(operation)[1]) == (1, 1)
    assert status_of(conn, hidden, known) == [JobStatus.QUEUED, JobStatus.CANCELLED]


def test_takes_no_other_preview_for_its_own(failed, start, preview):
    failed()
    seen = preview("retry")

    for given in (
        {"action": "delete", "as_of": seen.as_of},
        {"action": "retry", "wanted": JobFilter(kinds=["mail"]), "as_of": seen.as_of},
        {"action": "retry", "queues": ["default"], "as_of": seen.as_of},
        {"action": "retry", "as_of": seen.as_of + timedelta(microseconds=1)},
    ):
        with pytest.raises(PreviewNotKept):
            start(**given)


def test_knows_the_whole_number_of_a_transaction_by_its_last_32_bits(sql):
    numbers = {
        700: 800,
        2**32 - 5: 2**32 + 10,
        3 * 2**32 + 7: 3 * 2**32 + 9,
        2**32 + 2**24 + 5: 2**33 - 17,
        2**40: 2**40 + 1,
    }

    found = {}
    for number, next_number in numbers.items():
        of_row = PARTS["written_by"].replace("xmin::text::bigint", str(number % 2**32))
        [(found[number],)] = sql(
            f"SELECT {of_row.replace('(SELECT above FROM turn)', f'{next_number + 2**24}::bigint')}"
        )

    assert found == {number: number for number in numbers}


def test_acts_on_rows_that_are_frozen(sql, failed, start, preview, done_by):
    for _ in range(3):
        failed()
    seen = preview("retry")
    sql("VACUUM (FREEZE) haulier.finished_job")

    assert counts(done_by(start("retry", as_of=seen.as_of))) == (3, 3, 0, 0)


def test_acts_on_what_workers_ended_if_writes_in_savepoints_are_unknown(conn, sql, failed, start, done_by):
    # As if an older transaction had been open, and over 500,000 others come.
    ended, cancelled = failed(), failed()
    sql("UPDATE haulier.finished_job SET status = 'cancelled' WHERE id = %s", cancelled)
    operation = start("retry")
    sql("UPDATE haulier.operation SET doubted = int8range(0, lower(unseen))")

    assert counts(done_by(operation)) == (2, 1, 1, 0)
    assert status_of(conn, ended, cancelled) == ["queued", "cancelled"]


def test_says_about_how_many_if_they_were_counted_and_else_more_than(
    sql, enqueue, monkeypatch, preview, start, done_by
):
    for _ in range(9):
        enqueue()
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 4)
    monkeypatch.setattr(ops, "COUNT_SECONDS", -1.0)

    without = preview("cancel")
    ended = done_by(start("cancel", starts_in_seconds=0), most_jobs=2)
    for _ in range(9):
        enqueue()
    sql("INSERT INTO haulier.depth (queue, kind, status, jobs, due) VALUES ('default', 'mail', 'queued', 9, 9)")
    sql("INSERT INTO haulier.counting (through, folded, recounted, depth_at) VALUES (now(), now(), now(), now())")
    counted = preview("cancel")

    assert (without.matched, without.matched_is) == (4, MatchedIs.MORE_THAN)
    assert (counted.matched, counted.matched_is) == (9, MatchedIs.ABOUT)
    # In the end it is known how many there were.
    assert (ended.matched_is, counts(ended)) == (MatchedIs.EXACT, (9, 9, 0, 0))


def test_fails_when_the_database_was_restored(sql, failed, start, done_by):
    failed()
    operation = start("retry")
    sql("UPDATE haulier.operation SET cluster = cluster + 1")

    ended = done_by(operation)

    assert ended.status is OperationStatus.FAILED
    assert "restored" in ended.error


@pytest.mark.parametrize("action", ["retry", "delete"])
def test_leaves_a_job_alone_whose_id_is_twice_in_the_history(conn, sql, failed, start, preview, done_by, action):
    twice, once = failed(), failed()
    seen = preview(action)
    sql(
        "INSERT INTO haulier.finished_job"
        " SELECT (jsonb_populate_record(job, jsonb_build_object('finished_at', finished_at + interval '1 us'))).*"
        " FROM haulier.finished_job AS job WHERE id = %s RETURNING 1",
        twice,
    )

    operation = done_by(start(action, as_of=seen.as_of))

    assert (operation.status, operation.error) == (OperationStatus.DONE, None)
    assert counts(operation) == (2, 1, 0, 1)
    assert sql("SELECT count(*) FROM haulier.finished_job WHERE id = %s", twice) == [(2,)]
    assert status_of(conn, once) == ["queued" if action == "retry" else "gone"]


# --- Races


FAILED = ended(
    "generate_series(1, 80) AS n RETURNING id",
    status="CASE WHEN n % 3 = 0 THEN 'cancelled' ELSE 'failed_permanent' END",
    created_at="now() - n * interval '1 second'",
)
WAITING = """
    INSERT INTO haulier.job (kind, payload, created_at)
    SELECT 'mail', '{}', now() - n * interval '1 second' FROM generate_series(1, 80) AS n
    RETURNING id
"""
CHANGES = {"priority": 5, "queue": "bulk", "delay_seconds": 0}


@pytest.fixture
def touched(sql):
    """Give the ledger of who touched which job."""
    with touching(sql) as ledger:
        yield ledger


def meddle(conn: Connection, ids: list[UUID], chance: random.Random) -> None:
    """Do to the jobs what others do, in any order; some of it in savepoints of transactions that commit late."""
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
    acts: list[Callable[[], object]] = [
        lambda: jobs.retry(conn, chance.choice(ids)),
        lambda: jobs.cancel(conn, chance.choice(ids)),
        lambda: queueing.enqueue(conn, [NewJob("mail", {})]),
        lambda: finish(conn, worker, chance),
        lambda: late(conn, chance.choice(ids), chance),
    ]
    for _ in range(40):
        with suppress(HaulierError, errors.DeadlockDetected):
            chance.choice(acts)()


def finish(conn: Connection, worker: UUID, chance: random.Random) -> None:
    for job in queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=()):
        outcome = chance.choice([Outcome.complete({}), Outcome.fail_for_good("no luck"), Outcome.fail("no", delay=0)])
        claims.settle(conn, [Settlement(Fence.of(job), outcome)])


def late(conn: Connection, job_id: UUID, chance: random.Random) -> None:
    mine = sql_on(conn)
    mine("BEGIN; SAVEPOINT one")
    mine("UPDATE haulier.job SET updated_at = now() WHERE id = %s AND status <> 'running'", job_id)
    mine("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
    mine("RELEASE one; SELECT pg_sleep(%s)", chance.uniform(0, 0.02))
    mine(chance.choice(["COMMIT", "ROLLBACK"]))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("action", OperationAction)
def test_acts_once_and_on_no_job_but_as_it_was_previewed(at_once, sql, touched, action, seed):
    ids = [each for (each,) in [*sql(FAILED), *sql(WAITING)]]
    order = Order(action, JobFilter(), changes=CHANGES if action is OperationAction.CHANGE else {})
    stop = threading.Event()

    def work(mine: Connection) -> None:
        by = Worker(uuid4(), 0.2, 0.2)
        while not stop.is_set():
            with suppress(errors.DeadlockDetected):
                work_off(mine, by, most_jobs=7, pace=Pace(3, lambda: not stop.wait(0.001)))
            stop.wait(0.005)

    def over(mine: Connection, operation: Operation) -> Operation | None:
        now = ops.get_operation(mine, operation.id)
        return None if now.status in (OperationStatus.RUNNING, OperationStatus.WAITING) else now

    def operate(mine: Connection) -> tuple[ops.Preview, dict[UUID, int], Operation]:
        try:
            preview, seen = ops.preview(mine, order), touched.last()
            operation = ops.start(mine, order, as_of=preview.as_of, actor=None)
            return preview, seen, eventually(lambda: over(mine, operation))
        finally:
            stop.set()

    def act(number: int, mine: Connection) -> object:
        if number < 2:
            return meddle(mine, ids, random.Random(10 * seed + number))
        return operate(mine) if number == 4 else work(mine)

    *others, (preview, seen, ended) = at_once(5, act)
    assert others == [None] * 4
    acted, before = touched.by(ended.id), touched.before(ended.id)
    assert ended.status is OperationStatus.DONE
    assert touched.twice(ended.id) == []
    assert {each: before[each] for each in acted} == {each: seen.get(each) for each in acted}
    assert len(acted) == ended.done > 0
    assert ended.done + ended.skipped + ended.failed == ended.matched == preview.matched
