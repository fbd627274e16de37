"""Statements that a connection prepares ..."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.domain.errors import DatabaseUnavailable
from app.queue import consume
from app.queue.connection import Database
from app.queue.plans import Plans, prepared

pytestmark = pytest.mark.direct("a pool's connections keep nothing that is prepared")


@pytest.fixture
def plans(monkeypatch) -> Plans:
    """Let this test be the first that prepares anything."""
    made = Plans()
    monkeypatch.setattr(consume, "plans", made)
    return made


def prepared_on(conn) -> list[str]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


def test_a_claim_is_prepared_once_for_each_connection(plans, conn, enqueue, claim):
    jobs = [enqueue() for _ in range(3)]

    claimed = [claim() for _ in jobs]

    assert [job.id for job in claimed] == [job.id for job in jobs]
    [name] = prepared_on(conn)
    assert prepared("claim")[1].startswith(f"EXECUTE {name}(")


def test_what_somebody_took_away_is_an_outage_once(plans, database, enqueue, worker):
    subject = Database(database)
    enqueue(), enqueue()
    ask = {"worker_id": worker, "queues": ()}
    with subject.connection() as conn:
        first = consume.claim(conn, claim_id=uuid4(), **ask)
        with conn.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")

    with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
        consume.claim(conn, claim_id=uuid4(), **ask)

    with subject.connection() as conn:
        second = consume.claim(conn, claim_id=uuid4(), **ask)
        assert prepared_on(conn) == []
    subject.close()
    assert len({job.id for job in first + second}) == 2


def test_what_a_pool_that_does_not_show_has_lent_out_prepared_is_not_prepared_again(plans, conn, enqueue, claim):
    with conn.cursor() as cursor:
        cursor.execute(prepared("claim")[0])
    job = enqueue()

    claimed = claim()

    assert claimed.id == job.id
    assert not plans.are_kept
