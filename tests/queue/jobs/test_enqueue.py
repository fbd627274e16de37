"""Enqueue: it ..."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import JobStatus, NewJob
from haulier.postgres.statements import transaction
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.jobs.draft import Receipt
from tests import queueing
from tests.rivals import beside, connected

MAIL = NewJob("mail", {"to": "a@b.c"})


def keyed(key: str, **payload: object) -> NewJob:
    return NewJob("mail", payload, idempotency_key=key)


def test_counts_a_delay_from_now_by_the_databases_clock(conn):
    new = NewJob("mail", {}, delay=timedelta(seconds=90.5))

    [receipt] = queueing.enqueue(conn, [new])

    assert receipt.job.run_at - receipt.job.created_at == timedelta(seconds=90.5)


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
    rival = open_conn()
    rival.autocommit = False
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
    rival = open_conn()
    rival.autocommit = False
    queueing.enqueue(rival, [keyed("order-7", n=1)])
    ask = connected(database, lambda mine: queueing.enqueue(mine, [keyed("order-7", n=2)])[0].receipt)

    with beside(ask) as receipts:
        until_somebody_waits()
        assert receipts == [None]
        rival.rollback()

    assert receipts == [Receipt.CREATED]


def test_stores_no_job_if_the_callers_own_transaction_rolls_back(open_conn, sql):
    mine = open_conn()
    mine.autocommit = False

    [receipt] = queueing.enqueue(mine, [keyed("order-7")])
    mine.rollback()

    assert receipt.receipt is Receipt.CREATED
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(0,)]


def test_stores_the_job_when_the_callers_own_transaction_commits(open_conn, conn, sql):
    mine = open_conn()
    mine.autocommit = False

    [receipt] = queueing.enqueue(mine, [MAIL])
    before = sql("SELECT count(*) FROM haulier.job")
    mine.commit()

    assert before == [(0,)]
    assert search.get(conn, receipt.job.id).status is JobStatus.QUEUED


def test_is_part_of_a_transaction_of_ours(conn, sql):
    def fail_after_it() -> None:
        with transaction(conn):
            queueing.enqueue(conn, [MAIL])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_it()

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


class Counting(psycopg2.extensions.cursor):
    """A cursor that counts what it sends."""

    sent = 0

    def execute(self, *args, **kwargs):
        """Send a message, and count it."""
        Counting.sent += 1
        return super().execute(*args, **kwargs)


def test_takes_one_round_trip_for_one_job(conn):
    conn.cursor_factory = Counting
    for key in (None, "order-7"):
        Counting.sent = 0
        enqueued = job_acts.enqueue_one(conn, job_acts.draft(MAIL, idempotency_key=key))
        assert (enqueued.receipt, enqueued.job.idempotency_key) == (Receipt.CREATED, key)
        assert Counting.sent == 1


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
    rival = open_conn()
    rival.autocommit = False
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
