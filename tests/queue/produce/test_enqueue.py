"""Enqueue: it ..."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import JobStatus, NewJob
from haulier.postgres.statements import transaction
from haulier.queue import produce
from haulier.queue.produce.draft import Receipt
from tests import queueing
from tests.conftest import PATIENCE, eventually

MAIL = NewJob("mail", {"to": "a@b.c"})


def keyed(key: str, **payload: object) -> NewJob:
    return NewJob("mail", payload, idempotency_key=key)


def test_stores_a_queued_job_with_the_contracts_defaults(conn, sql):
    [receipt] = queueing.enqueue(conn, [MAIL])

    job = receipt.job
    assert receipt.receipt is Receipt.CREATED
    assert (job.kind, job.payload, job.status) == ("mail", {"to": "a@b.c"}, JobStatus.QUEUED)
    assert (job.queue, job.priority, job.max_attempts, job.timeout_seconds) == ("default", 0, 3, None)
    assert (job.attempts, job.attempt, job.crashes, job.snoozes, job.backoff) == (0, 0, 0, 0, None)
    assert (job.last_error, job.errors, job.result, job.cancel_requested) == (None, [], None, False)
    assert (job.idempotency_key, job.claim, job.worker_id, job.started_at, job.finished_at) == (None,) * 5
    assert job.run_at == job.created_at == job.updated_at
    assert job.created_at.tzinfo is UTC
    assert sql("SELECT now() - created_at < interval '5 s' FROM haulier.job") == [(True,)]
    assert produce.get(conn, job.id).read() == job.read()


def test_stores_every_option(conn):
    run_at = datetime(2040, 2, 29, 12, 30, 0, 123456, tzinfo=UTC)
    new = NewJob(
        "mail",
        {"text": "grüße \\u0000 'quoted' \\ %s 😀", "n": [1, 2.5, None, {"deep": []}]},
        queue="bulk",
        priority=-7,
        max_attempts=1000,
        run_at=run_at,
        timeout_seconds=86_400,
        idempotency_key="order-7",
    )

    [receipt] = queueing.enqueue(conn, [new])

    job = produce.get(conn, receipt.job.id)
    assert job.payload == new.payload
    assert (job.queue, job.priority, job.max_attempts) == ("bulk", -7, 1000)
    assert (job.run_at, job.timeout_seconds, job.idempotency_key) == (run_at, 86_400, "order-7")


def test_counts_a_delay_from_now_by_the_databases_clock(conn):
    new = NewJob("mail", {}, delay=timedelta(seconds=90.5))

    [receipt] = queueing.enqueue(conn, [new])

    assert receipt.job.run_at - receipt.job.created_at == timedelta(seconds=90.5)


def test_stores_a_past_run_at_as_now(conn):
    new = NewJob("mail", {}, run_at=datetime(1999, 1, 1, tzinfo=UTC))

    [receipt] = queueing.enqueue(conn, [new])

    assert receipt.job.run_at == receipt.job.created_at


def test_returns_the_receipts_in_the_order_asked(conn):
    new = [NewJob("mail", {"n": n}, idempotency_key=f"k{(n * 7) % 50}" if n % 2 else None) for n in range(50)]

    receipts = queueing.enqueue(conn, new)

    assert [receipt.job.payload["n"] for receipt in receipts] == list(range(50))


def test_stores_one_job_each_where_the_same_value_is_given_many_times(conn, sql):
    receipts = queueing.enqueue(conn, [MAIL] * 5)

    ids = {receipt.job.id for receipt in receipts}
    assert len(ids) == 5
    assert {row[0] for row in sql("SELECT id FROM haulier.job")} == ids


def test_replays_the_second_where_the_very_same_keyed_value_is_given_twice(conn, sql):
    new = keyed("order-7")

    receipts = queueing.enqueue(conn, [new, new])

    assert [receipt.receipt for receipt in receipts] == [Receipt.CREATED, Receipt.REPLAYED]
    assert receipts[0].job == receipts[1].job
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_stores_nothing_where_nothing_is_asked(conn):
    receipts = queueing.enqueue(conn, [])

    assert receipts == []


def test_makes_ids_in_the_order_of_time(conn):
    first = queueing.enqueue(conn, [MAIL])[0].job
    eventually(lambda: datetime.now(UTC) - first.created_at > timedelta(milliseconds=2))

    second = queueing.enqueue(conn, [MAIL])[0].job

    assert (first.id.version, second.id.version) == (7, 7)
    assert first.id < second.id


def test_replays_a_known_key_with_the_job_as_it_is_now(conn, running):
    [created] = queueing.enqueue(conn, [keyed("order-7", n=1)])
    produce.cancel(conn, created.job.id)

    [replayed] = queueing.enqueue(conn, [keyed("order-7", n=1)])

    assert replayed.receipt is Receipt.REPLAYED
    assert replayed.job.id == created.job.id
    assert replayed.job.status is JobStatus.CANCELLED


def test_calls_a_known_key_with_another_request_a_mismatch(conn, sql):
    queueing.enqueue(conn, [keyed("order-7", n=1)])

    [refused] = queueing.enqueue(conn, [keyed("order-7", n=2)])

    assert (refused.receipt, refused.job) == (Receipt.MISMATCH, None)
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_calls_a_known_key_whose_job_was_purged_gone(conn, sql):
    [created] = queueing.enqueue(conn, [keyed("order-7", n=1)])
    sql("DELETE FROM haulier.job WHERE id = %s", created.job.id)

    [refused] = queueing.enqueue(conn, [keyed("order-7", n=1)])

    assert (refused.receipt, refused.job) == (Receipt.GONE, None)
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_has_one_key_space_for_all_kinds(conn):
    queueing.enqueue(conn, [NewJob("mail", {}, idempotency_key="order-7")])

    [refused] = queueing.enqueue(conn, [NewJob("image", {}, idempotency_key="order-7")])

    assert refused.receipt is Receipt.MISMATCH


def test_replays_or_refuses_the_second_of_one_key_in_a_batch(conn):
    receipts = queueing.enqueue(
        conn, [keyed("a", n=1), MAIL, keyed("a", n=1), keyed("a", n=2), keyed("b", n=1)], atomic=False
    )

    assert [receipt.receipt for receipt in receipts] == [
        Receipt.CREATED,
        Receipt.CREATED,
        Receipt.REPLAYED,
        Receipt.MISMATCH,
        Receipt.CREATED,
    ]
    assert receipts[2].job == receipts[0].job


@pytest.mark.parametrize("reason", [Receipt.MISMATCH, Receipt.GONE])
def test_atomic_leaves_neither_job_nor_key_where_one_is_refused(conn, sql, reason):
    [known] = queueing.enqueue(conn, [keyed("known", n=1)])
    if reason is Receipt.GONE:
        sql("DELETE FROM haulier.job WHERE id = %s", known.job.id)
    before = sql("SELECT count(*) FROM haulier.job")

    receipts = queueing.enqueue(conn, [MAIL, keyed("new"), keyed("known", n=2 if reason is Receipt.MISMATCH else 1)])

    assert receipts[2].receipt is reason
    assert sql("SELECT count(*) FROM haulier.job") == before
    assert sql("SELECT key FROM haulier.idempotency") == [("known",)]


def test_not_atomic_stores_the_others(conn, sql):
    queueing.enqueue(conn, [keyed("known", n=1)])

    receipts = queueing.enqueue(conn, [MAIL, keyed("known", n=2), keyed("new")], atomic=False)

    assert [receipt.receipt for receipt in receipts] == [Receipt.CREATED, Receipt.MISMATCH, Receipt.CREATED]
    assert sql("SELECT count(*) FROM haulier.job") == [(3,)]


def test_leaves_neither_job_nor_key_where_the_database_refuses_one(conn, sql):
    bad = NewJob("Not A Name", {})

    with pytest.raises(psycopg2.errors.CheckViolation):
        queueing.enqueue(conn, [MAIL, keyed("new"), bad])

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(0,)]
    assert queueing.enqueue(conn, [MAIL])[0].receipt is Receipt.CREATED


def test_stores_one_row_where_fifty_ask_with_one_key_at_once(at_once, sql):
    answers = at_once(50, lambda number, mine: queueing.enqueue(mine, [keyed("order-7", n=1)])[0])

    assert Counter(answer.receipt for answer in answers) == {Receipt.CREATED: 1, Receipt.REPLAYED: 49}
    assert {answer.job.id for answer in answers} == {row[0] for row in sql("SELECT id FROM haulier.job")}
    assert len({answer.job.id for answer in answers}) == 1


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


def test_waits_for_a_rival_with_the_same_key_and_creates_where_that_one_rolls_back(
    open_conn, database, until_somebody_waits
):
    rival = open_conn()
    rival.autocommit = False
    queueing.enqueue(rival, [keyed("order-7", n=1)])
    answers: list[produce.Enqueued] = []

    def ask() -> None:
        with closing(psycopg2.connect(database)) as mine:
            mine.autocommit = True
            answers.extend(queueing.enqueue(mine, [keyed("order-7", n=2)]))

    asking = threading.Thread(target=ask)
    asking.start()
    until_somebody_waits()
    assert answers == []
    rival.rollback()
    asking.join(PATIENCE)

    assert [answer.receipt for answer in answers] == [Receipt.CREATED]


def test_stores_no_job_where_the_callers_own_transaction_rolls_back(open_conn, sql):
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
    assert produce.get(conn, receipt.job.id).status is JobStatus.QUEUED


def test_is_part_of_a_transaction_of_ours(conn, sql):
    def fail_after_it() -> None:
        with transaction(conn):
            queueing.enqueue(conn, [MAIL])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_it()

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_takes_ten_thousand_jobs_at_once(conn, sql):
    receipts = queueing.enqueue(conn, [NewJob("mail", {"n": n}, idempotency_key=f"k{n}") for n in range(10_000)])

    assert len({receipt.job.id for receipt in receipts}) == 10_000
    assert sql("SELECT count(*) FROM haulier.job") == [(10_000,)]


class Counting(psycopg2.extensions.cursor):
    """A cursor that counts what it sends."""

    sent = 0

    def execute(self, *args, **kwargs):
        """Send a message, and count it."""
        Counting.sent += 1
        return super().execute(*args, **kwargs)


@pytest.mark.parametrize("key", [None, "order-7"])
def test_takes_one_round_trip_for_one_job(conn, key):
    conn.cursor_factory, Counting.sent = Counting, 0

    enqueued = produce.enqueue_one(conn, produce.draft(MAIL, idempotency_key=key))

    assert (enqueued.receipt, enqueued.job.idempotency_key) == (Receipt.CREATED, key)
    assert Counting.sent == 1


@pytest.mark.parametrize(
    "text", ["\\", "\\N", "\\.", "a\tb\nc\rd", "\\t \\\\n", "\"quoted\" 'too'", "grüße 😀", "%s %(x)s {}"]
)
def test_stores_any_text_of_many_jobs_as_it_is(conn, text):
    key = f"{text} as a key"
    new = [NewJob("mail", {text: [text]}, idempotency_key=key), NewJob("mail", {})]

    receipts = queueing.enqueue(conn, new)

    assert [receipt.job.payload for receipt in receipts] == [{text: [text]}, {}]
    assert [receipt.job.idempotency_key for receipt in receipts] == [key, None]


def test_stores_every_option_of_many_jobs(conn):
    run_at, past = datetime(2040, 2, 29, 12, 30, 0, 123456, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)
    options = {"queue": "bulk", "priority": -7, "max_attempts": 1000, "timeout_seconds": 86_400}
    new = [
        NewJob("mail", {}, run_at=run_at, **options),
        NewJob("mail", {}, run_at=past),
        NewJob("mail", {}, delay=timedelta(seconds=90.5)),
    ]

    jobs = [receipt.job for receipt in queueing.enqueue(conn, new)]

    assert {name: getattr(jobs[0], name) for name in options} == options
    assert jobs[0].run_at == run_at
    assert jobs[1].run_at == jobs[1].created_at == jobs[0].created_at
    assert jobs[2].run_at - jobs[2].created_at == timedelta(seconds=90.5)
    assert (jobs[2].queue, jobs[2].priority, jobs[2].max_attempts, jobs[2].timeout_seconds) == ("default", 0, 3, None)


@pytest.mark.direct("listens")
def test_many_jobs_wake_a_worker_once(conn, open_conn, worker, sql):
    sleeper = open_conn()
    with sleeper.cursor() as cursor:
        cursor.execute("LISTEN haulier_job")
    sql("INSERT INTO haulier.sleeper (worker_id) VALUES (%s)", worker)

    produce.enqueue_all(conn, [produce.draft(MAIL)] * 500)

    eventually(lambda: sleeper.poll() or sleeper.notifies)
    assert len(sleeper.notifies) == 1


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
