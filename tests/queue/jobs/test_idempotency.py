"""Purging idempotency keys: it ..."""

from __future__ import annotations

import pytest

from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue.jobs.draft import Receipt
from haulier.queue.upkeep import purge
from haulier.queue.upkeep.purge import purge_idempotency
from tests import queueing

OLD_KEYS = """
    INSERT INTO haulier.idempotency (key, fingerprint, job_id, created_at)
    SELECT 'k' || n, '', haulier.uuidv7(), now() - interval '40 days' FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def age(sql):
    """Give a function that makes a key this many days old."""

    def age(key, days):
        assert sql(
            "UPDATE haulier.idempotency SET created_at = now() - make_interval(days => %s) WHERE key = %s RETURNING 1",
            days,
            key,
        )

    return age


@pytest.fixture
def keys(sql):
    """Give a function that returns the keys that are still known."""
    return lambda: {row[0] for row in sql("SELECT key FROM haulier.idempotency")}


def test_forgets_an_old_key_whose_job_has_ended(running, settle, conn, age, keys):
    settle(running(idempotency_key="old"), Outcome.complete())
    settle(running(idempotency_key="young"), Outcome.complete())
    age("old", 31)
    age("young", 29)

    purged = purge_idempotency(conn, idempotency_days=30)

    assert purged == 1
    assert keys() == {"young"}


def test_keeps_an_old_key_as_long_as_its_job_lives(enqueue, running, conn, age, keys):
    enqueue(idempotency_key="waiting", priority=-1)
    running(idempotency_key="runs")
    age("waiting", 400)
    age("runs", 400)

    purged = purge_idempotency(conn, idempotency_days=30)

    assert purged == 0
    assert keys() == {"waiting", "runs"}


def test_forgets_an_old_key_whose_job_is_nowhere(enqueue, conn, age, keys, sql):
    enqueue(idempotency_key="old")
    sql("DELETE FROM haulier.job")
    age("old", 31)

    purge_idempotency(conn, idempotency_days=30)

    assert keys() == set()


def test_takes_all_of_them_a_bounded_number_at_a_time(conn, sql, keys, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 4)
    sql(OLD_KEYS, 10)

    purged = purge_idempotency(conn, idempotency_days=30)

    assert purged == 10
    assert keys() == set()


def test_several_purge_at_once_without_waiting_for_each_other(at_once, sql, keys):
    sql(OLD_KEYS, 500)

    purged = at_once(4, lambda number, mine: purge_idempotency(mine, idempotency_days=30))

    assert sum(purged) == 500
    assert keys() == set()


def test_a_forgotten_key_may_be_used_again(running, settle, conn, age):
    first = running(idempotency_key="order-7")
    settle(first, Outcome.complete())
    age("order-7", 31)
    purge_idempotency(conn, idempotency_days=30)

    [again] = queueing.enqueue(conn, [NewJob("mail", {"other": True}, idempotency_key="order-7")])

    assert again.receipt is Receipt.CREATED
    assert again.job.id != first.id


def test_leaves_locked_keys_to_their_purger_without_waiting(conn, sql, open_conn, keys):
    sql(OLD_KEYS, 5)
    rival = open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.idempotency WHERE key = 'k3' FOR UPDATE")

    purged = purge_idempotency(conn, idempotency_days=30)
    rival.rollback()

    assert purged == 4
    assert keys() == {"k3"}
