"""What the suite's triggers see of operators' acts, on a real database: they ..."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims, jobs
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.operations.work_off import Worker, work_off
from haulier.queue.search.job_filter import JobFilter
from lab.chaos import acts, numbers, witness
from lab.chaos.operators import Act, place_of
from lab.chaos.stage import WITNESS
from tests import queueing
from tests.conftest import sql_on


@pytest.fixture
def conn(migrated_database: str) -> Iterator[Connection]:
    with closing(connect(migrated_database)) as conn:
        with conn.cursor() as cursor:
            cursor.execute(WITNESS)
        yield conn


def enqueue(conn: Connection, *tags: str, delay: timedelta | None = None) -> UUID:
    [made] = queueing.enqueue(conn, [NewJob("c.acted", {"n": 1}, tags=tags or ("group-1",), delay=delay)])
    assert made.job is not None
    return made.job.id


def run(conn: Connection, outcome: Outcome) -> None:
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=1)
    claims.settle(conn, [Settlement(Fence.of(job), outcome)])


def with_mark(mark: int) -> jobs.Changes:
    queue, priority = place_of(mark)
    payload = {"n": 1, "mark": mark}
    fields = {"queue": queue, "priority": priority, "payload": payload}
    return jobs.Changes(json.dumps(fields), noted=json.dumps({"new": payload}))


def operate(conn: Connection, action: str, tag: str, **changes: Any) -> ops.Operation:
    order = Order(OperationAction(action), JobFilter(tags=[tag]), changes=changes)
    seen = ops.preview(conn, order)
    started = ops.start(conn, order, as_of=seen.as_of, actor=None)
    while work_off(conn, Worker(uuid4(), 9.0, 0.0), most_jobs=2):
        pass
    return ops.get_operation(conn, started.id)


def everything(conn: Connection) -> list[Act]:
    """Do everything that operators can do, and return the answers."""
    job = enqueue(conn)
    jobs.change(conn, job, with_mark(1))
    run(conn, Outcome.fail_for_good("no luck"))
    jobs.retry(conn, job, with_mark(2))
    copy = jobs.copy(conn, job, with_mark(3))
    jobs.cancel(conn, job)
    jobs.delete(conn, job)
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    [running] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=1)
    assert running.id == copy.id
    jobs.cancel(conn, copy.id)
    claims.settle(conn, [Settlement(Fence.of(running), Outcome.complete({}))])
    for _ in range(5):
        enqueue(conn, "crowd")
    started = [
        operate(conn, "change", "crowd", priority=2),
        operate(conn, "cancel", "crowd"),
        operate(conn, "retry", "crowd"),
        operate(conn, "cancel", "crowd"),
        operate(conn, "delete", "crowd"),
    ]
    assert [(each.matched, each.done) for each in started] == [(5, 5)] * 5
    return [
        Act("change", str(job), 1, 200),
        Act("retry", str(job), 2, 200),
        Act("copy", str(job), 3, 201),
        Act("cancel", str(job), None, 200),
        Act("delete", str(job), None, 204),
        Act("cancel", str(copy.id), None, 202),
        *[Act("operate", str(each.id), None, 202) for each in started],
    ]


def test_see_each_act_once_in_the_transaction_that_put_it_on_record(conn):
    answered = everything(conn)

    seen = witness.read(conn)

    assert list(acts.breaches(seen, answered)) == []
    done = [each.action for each in acts.effects(seen.written)]
    assert done[:6] == ["change", "retry", "copy", "cancel", "delete", "cancel"]
    assert done[6:] == [each for each in ("change", "cancel", "retry", "cancel", "delete") for _ in range(5)]


def test_miss_no_act_that_was_answered(conn):
    answered = everything(conn)
    seen = witness.read(conn)

    def found(number: int, act: Act) -> set[str]:
        other = {"target": str(uuid4())} if act.action == "operate" else {"status": 409}
        changed = [*answered[:number], act._replace(**other), *answered[number + 1 :]]
        return {promise for promise, _ in acts.breaches(seen, changed)}

    assert len(answered) == 11
    assert [act for number, act in enumerate(answered) if found(number, act) != {"act_not_done_once"}] == []


def test_do_not_see_what_is_not_so(conn):
    answered, sql = everything(conn), sql_on(conn)
    spoilt = {
        "DELETE FROM haulier.audit WHERE action = 'cancel'": "act_not_on_record",
        "DELETE FROM haulier.audit WHERE action = 'operate'": "act_not_on_record",
        "UPDATE haulier.operation SET done = 4, skipped = 1": "operation_miscounted",
        "UPDATE haulier.operation SET status = 'running'": "operation_did_not_end",
        "UPDATE chaos.preview SET seen = '1:1:'": "operation_acted_on_others",
        'UPDATE haulier.operation SET filter = \'{"tag": ["other"]}\'': "operation_acted_on_others",
    }

    missed = []
    for statement, promise in spoilt.items():
        sql("BEGIN")
        sql(statement)
        if promise not in {each for each, _ in acts.breaches(witness.read(conn), answered)}:
            missed.append(statement)
        sql("ROLLBACK")

    assert missed == []


def test_keep_what_was_deleted_as_it_was_and_nothing_that_was_retried(conn):
    kept, deleted = enqueue(conn), enqueue(conn)
    for job in (kept, deleted):
        jobs.cancel(conn, job)
        jobs.retry(conn, job)
        jobs.cancel(conn, job)
    jobs.delete(conn, deleted)

    assert sql_on(conn)("SELECT job ->> 'id', job ->> 'status' FROM chaos.deleted") == [(str(deleted), "cancelled")]


# The numbers ----------------------------------------------------------------------------------------------------------

COUNTED = """
    INSERT INTO haulier.rollup (step, at, queue, kind, arrived, cancelled)
    VALUES (10, '2030-01-01', 'default', 'c.acted', %s, %s)
"""
THROUGH = (
    "INSERT INTO haulier.counting (through, folded, recounted) SELECT at, at, at FROM (SELECT now() + %s) AS reach (at)"
)


@pytest.mark.parametrize(
    ("through", "differences"),
    [
        # All of it was counted for good before it went: each end of the job that was retried, and the deleted one.
        (timedelta(minutes=1), {(2, 3): 0, (2, 2): 1, (1, 3): 1, (3, 4): 2}),
        # It went before it was counted.
        (timedelta(minutes=-1), {(2, 3): 0, (1, 1): 0, (0, 0): 2, (5, 4): 2}),
    ],
)
def test_tell_what_the_numbers_have_to_be(conn, through, differences):
    sql = sql_on(conn)
    sql(THROUGH, through)
    for is_deleted in (True, False):
        job = enqueue(conn, delay=timedelta(hours=1))
        jobs.cancel(conn, job)
        if is_deleted:
            jobs.delete(conn, job)
        else:
            jobs.retry(conn, job)
            jobs.cancel(conn, job)

    found = {}
    for counted in differences:
        sql("DELETE FROM haulier.rollup")
        sql(COUNTED, *counted)
        found[counted] = len(sql(numbers.DIFFERENT))

    assert found == differences
