"""Enqueue and its idempotency keys: it ..."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import RFC_4122, UUID

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import RowRefused
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.queue import jobs, search
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.draft import Receipt, Stored
from haulier.queue.jobs.enqueue import prepared as inserts
from haulier.queue.jobs.once import made_once
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.schedules.schedules import run_schedule_once
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep import purge
from haulier.queue.upkeep.purge import purge_idempotency
from tests import queueing
from tests.queue.schedules.schedules import plant
from tests.rivals import beside, connected

MAIL = NewJob("mail", {"to": "a@b.c"})


def keyed(key: str, **payload: object) -> NewJob:
    return NewJob("mail", payload, idempotency_key=key)


def test_counts_a_delay_from_now_by_the_databases_clock(conn):
    new = NewJob("mail", {}, delay=timedelta(seconds=90.5))

    [receipt] = queueing.enqueue(conn, [new])

    assert receipt.job.run_at - receipt.job.created_at == timedelta(seconds=90.5)


@pytest.mark.direct("a pool's connections keep nothing that is prepared")
def test_enqueues_also_if_its_prepared_statement_was_lost(conn, sql, monkeypatch):
    monkeypatch.setattr(inserts, "are_kept", True)
    queueing.enqueue(conn, [MAIL])
    assert ("haulier_enqueue",) in sql("SELECT left(name, 15) FROM pg_prepared_statements")

    sql("DEALLOCATE ALL")

    assert queueing.enqueue(conn, [MAIL])[0].receipt is Receipt.CREATED
    assert sql("SELECT count(*) FROM haulier.job") == [(2,)]


def test_says_that_a_trigger_drops_a_job(conn, sql):
    sql("CREATE FUNCTION public.drops() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    sql("CREATE TRIGGER drops BEFORE INSERT ON haulier.job FOR EACH ROW EXECUTE FUNCTION public.drops()")
    try:
        with pytest.raises(RowRefused, match="a trigger drops the job"):
            queueing.enqueue(conn, [MAIL])
    finally:
        sql("DROP FUNCTION public.drops CASCADE")


def test_atomic_leaves_neither_job_nor_key_if_one_is_refused(conn, sql):
    queueing.enqueue(conn, [keyed("known", n=1)])

    mismatch = queueing.enqueue(conn, [MAIL, keyed("new"), keyed("known", n=2)])[2]
    sql("DELETE FROM haulier.job")
    gone = queueing.enqueue(conn, [MAIL, keyed("new"), keyed("known", n=1)])[2]

    assert (mismatch.receipt, gone.receipt) == (Receipt.MISMATCH, Receipt.GONE)
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT key FROM haulier.idempotency") == [("known",)]


def test_leaves_neither_job_nor_key_if_the_database_refuses_one(conn, sql):
    bad = NewJob("Not A Name", {})

    with pytest.raises(psycopg2.errors.CheckViolation):
        queueing.enqueue(conn, [MAIL, keyed("new"), bad])

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(0,)]
    assert queueing.enqueue(conn, [MAIL])[0].receipt is Receipt.CREATED


def test_lets_batches_with_the_same_keys_in_opposite_orders_pass_each_other(
    at_once, open_conn, until_somebody_waits, sql
):
    rival = open_conn(autocommit=False)
    queueing.enqueue(rival, [keyed("m")])

    def ask(number: int, mine: Connection) -> object:
        if number == 2:
            until_somebody_waits(2)
            return rival.rollback()
        return queueing.enqueue(mine, [keyed(key) for key in ("amz" if number else "zma")])

    answers = at_once(3, ask)

    receipts = Counter(receipt.receipt for answer in answers[:2] for receipt in answer)
    assert receipts == {Receipt.CREATED: 3, Receipt.REPLAYED: 3}
    assert sql("SELECT count(*) FROM haulier.job") == [(3,)]


def test_waits_for_a_rival_with_the_same_key_and_creates_after_its_rollback(open_conn, database, until_somebody_waits):
    rival = open_conn(autocommit=False)
    queueing.enqueue(rival, [keyed("order-7", n=1)])
    ask = connected(database, lambda mine: queueing.enqueue(mine, [keyed("order-7", n=2)])[0].receipt)

    with beside(ask) as receipts:
        until_somebody_waits()
        assert receipts == [None]
        rival.rollback()

    assert receipts == [Receipt.CREATED]


def test_stores_no_job_if_the_callers_own_transaction_rolls_back(open_conn, sql):
    mine = open_conn(autocommit=False)

    [receipt] = queueing.enqueue(mine, [keyed("order-7")])
    mine.rollback()

    assert receipt.receipt is Receipt.CREATED
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(0,)]


class Counting(psycopg2.extensions.cursor):
    sent = 0

    def execute(self, *args, **kwargs):
        Counting.sent += 1
        return super().execute(*args, **kwargs)


def test_takes_one_round_trip_for_one_job(conn):
    # A connection prepares its statements first, once.
    queueing.enqueue(conn, [MAIL])
    conn.cursor_factory = Counting
    for key in (None, "order-7"):
        Counting.sent = 0
        enqueued = job_acts.enqueue_one(conn, job_acts.draft(MAIL, idempotency_key=key))
        assert (enqueued.receipt, enqueued.job.idempotency_key) == (Receipt.CREATED, key)
        assert Counting.sent == 1


def test_gives_many_jobs_ids_of_version_7_in_their_order(conn):
    drafts = [job_acts.draft(MAIL) for _ in range(3000)]

    stored = [UUID(each.job_id) for _ in range(2) for each in job_acts.enqueue_all(conn, drafts)]

    assert stored == sorted(set(stored))
    assert {(id.version, id.variant) for id in stored} == {(7, RFC_4122)}
    job = search.get(conn, stored[0])
    assert 0 <= (stored[0].int >> 80) - int(job.created_at.timestamp() * 1000) < 1000


def test_keeps_the_order_of_a_batch_of_which_some_jobs_are_refused(conn):
    drafts = [job_acts.draft(NewJob("Not A Name" if number % 2 else "mail", {})) for number in range(16)]

    for _ in range(20):
        ids = [each.job_id for each in job_acts.enqueue_each(conn, drafts) if isinstance(each, Stored)]
        assert (len(ids), ids) == (8, sorted(ids))


def test_stores_any_text_of_many_jobs_as_it_is(conn):
    texts = ["\\", "\\N", "\\.", "a\tb\nc\rd", "\\t \\\\n", "\"quoted\" 'too'", "grüße 😀", "%s %(x)s {}"]

    jobs = [
        receipt.job
        for receipt in queueing.enqueue(
            conn, [NewJob("mail", {text: [text]}, idempotency_key=f"{text} as a key") for text in texts]
        )
    ]

    assert [job.payload for job in jobs] == [{text: [text]} for text in texts]
    assert [job.idempotency_key for job in jobs] == [f"{text} as a key" for text in texts]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_sees_whom_it_waited_for_whatever_level_the_database_defaults_to(
    open_conn, at_once, until_somebody_waits, jobs
):
    rival = open_conn(autocommit=False)
    [winner] = queueing.enqueue(rival, [keyed("order-7")])

    def ask(number: int, mine: Connection) -> object:
        if number:
            until_somebody_waits()
            return rival.commit()
        with mine.cursor() as cursor:
            cursor.execute("SET default_transaction_isolation = 'repeatable read'")
        return queueing.enqueue(mine, [keyed("order-7")] * jobs)

    [answers, _] = at_once(2, ask)

    assert [(answer.receipt, answer.job.id) for answer in answers] == [(Receipt.REPLAYED, winner.job.id)] * jobs


# --- Purging


OLD_KEYS = """
    INSERT INTO haulier.idempotency (key, fingerprint, job_id, created_at)
    SELECT 'k' || n, '', haulier.uuidv7(), now() - interval '40 days' FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def keys(sql):
    return lambda: {row[0] for row in sql("SELECT key FROM haulier.idempotency")}


def test_forgets_old_keys_whose_jobs_have_ended_or_are_nowhere(enqueue, running, settle, conn, keys, sql):
    enqueue(idempotency_key="waiting", priority=-1)
    sql("DELETE FROM haulier.job WHERE id = %s", enqueue(idempotency_key="nowhere", priority=-1).id)
    for key in ("old", "young"):
        settle(running(idempotency_key=key), Outcome.complete())
    running(idempotency_key="runs")
    for key, days in (("waiting", 400), ("runs", 400), ("nowhere", 31), ("old", 31), ("young", 29)):
        sql("UPDATE haulier.idempotency SET created_at = now() - make_interval(days => %s) WHERE key = %s", days, key)

    assert purge_idempotency(conn, idempotency_days=30) == 2
    assert keys() == {"waiting", "runs", "young"}


def test_takes_all_of_them_a_bounded_number_at_a_time(conn, sql, keys, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 4)
    sql(OLD_KEYS, 10)

    purged = purge_idempotency(conn, idempotency_days=30)

    assert purged == 10
    assert keys() == set()


def test_leaves_locked_keys_to_their_purger_without_waiting(conn, sql, holding, keys):
    sql(OLD_KEYS, 5)

    with holding("SELECT FROM haulier.idempotency WHERE key = 'k3' FOR UPDATE"):
        assert purge_idempotency(conn, idempotency_days=30) == 4

    assert keys() == {"k3"}


# --- Once


def test_makes_one_job_however_many_ask_at_once(enqueue, at_once, sql):
    job = enqueue()

    def copy(_: int, conn: Connection) -> Any:
        return made_once(conn, "copy-1", lambda: jobs.copy(conn, job.id).id)

    made = at_once(8, copy)

    assert sorted(each.is_new for each in made) == [False] * 7 + [True]
    assert {each.job_id for each in made} == {
        id for (id,) in sql("SELECT id FROM haulier.job WHERE copy_of IS NOT NULL")
    }


def test_runs_a_schedule_once_and_refuses_none_for_that(at_once, sql):
    plant(sql, every_seconds=3600, overlap="skip")

    made = at_once(8, lambda _, conn: run_schedule_once(conn, "nightly", "run-1"))

    assert sorted(each.is_new for each in made) == [False] * 7 + [True]
    assert sql("SELECT id FROM haulier.job") == [(made[0].job_id,)]


def test_starts_one_operation_of_a_preview(enqueue, conn, at_once):
    enqueue()
    order = Order(OperationAction.CANCEL, JobFilter(kinds=["mail"]))
    seen = ops.preview(conn, order)

    started = at_once(8, lambda _, mine: ops.start_once(mine, order, as_of=seen.as_of, actor="Ann"))

    [found], _ = ops.list_operations(conn)
    assert sorted(is_new for _, is_new in started) == [False] * 7 + [True]
    assert {each.id for each, _ in started} == {found.id}


def test_leaves_the_key_free_and_no_job_if_making_it_failed(conn, sql):
    def make() -> UUID:
        [made] = queueing.enqueue(conn, [NewJob("mail", {})])
        assert made.job is not None
        return made.job.id

    def fail() -> UUID:
        make()
        raise LookupError

    with pytest.raises(LookupError):
        made_once(conn, "copy-1", fail)

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert [made_once(conn, "copy-1", make).is_new for _ in range(2)] == [True, False]
