"""Statements that a connection prepares ..."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from uuid import uuid4

import pytest

from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable, StatementRefused
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.pool import Database
from haulier.postgres.prepared import Prepared, as_prepared
from haulier.queue import claims, search
from haulier.queue.claims.settle import prepared
from tests import queueing
from tests.conftest import sql_on

pytestmark = pytest.mark.direct("a pool's connections keep nothing that is prepared")


@pytest.fixture
def plans(monkeypatch) -> Prepared:
    """Let this test be the first that prepares anything."""
    made = Prepared(prepared.names)
    for module in ("claim", "settle"):
        monkeypatch.setattr(import_module(f"haulier.queue.claims.{module}"), "prepared", made)
    return made


def prepared_on(conn) -> list[str]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


def plans_used(conn) -> dict[str, tuple[int, int]]:
    """Return how often each statement that is prepared here was called by its one plan, and how often by a new one."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT name, generic_plans, custom_plans FROM pg_prepared_statements")
        return {f"EXECUTE {name}": (generic, custom) for name, generic, custom in cursor.fetchall()}


def test_claims_and_settles_are_prepared_once_for_each_connection_and_planned_once(plans, conn, enqueue, claim):
    jobs = [enqueue() for _ in range(3)]

    claimed = [claim() for _ in jobs]
    for job in claimed:
        claims.settle_and_claim(conn, [Settlement(Fence.of(job), Outcome.complete())], None)

    assert [job.id for job in claimed] == [job.id for job in jobs]
    used = plans_used(conn)
    call = {name: as_prepared(name)[1].split("(")[0] for name in prepared.names}
    assert used.keys() >= set(call.values())
    assert used[call["claim"]] == used[call["settle_completed"]] == (len(jobs), 0)


def test_answers_are_bounded_on_connections_that_claim_and_on_no_others(conn, enqueue, claim):
    def source() -> str:
        """Return where the limit comes from: through a Unix socket its value reads as 0."""
        with conn.cursor() as cursor:
            cursor.execute("SELECT source FROM pg_settings WHERE name = 'tcp_user_timeout'")
            return cursor.fetchone()[0]

    search.get(conn, enqueue().id)
    before = source()

    claim()

    assert (before, source()) == ("default", "session")


def test_what_is_settled_by_the_plan_goes_where_it_would_without(plans, conn, running):
    outcomes = [Outcome.complete({"a": 1}), Outcome.fail("no", 1.0, 1.0), Outcome.fail_for_good("never"),
                Outcome.release(1.0), Outcome.give_back(), Outcome.snooze(1.0)]  # fmt: skip
    by_plan, without = [[running() for _ in outcomes] for _ in range(2)]

    def settlements(jobs):
        return [Settlement(Fence.of(job), outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def ends(jobs):
        """Return what became of them, but for what no two jobs share."""
        found = [search.get(conn, job.id).read() for job in jobs]
        own = {"id", "claim", "run_at", "created_at", "updated_at", "started_at", "finished_at"}
        return [
            {name: _without_time(value) for name, value in job._asdict().items() if name not in own} for job in found
        ]

    statuses, _ = claims.settle_and_claim(conn, settlements(by_plan), None)

    assert statuses == list(claims.settle(conn, settlements(without)).values())
    assert None not in statuses
    assert ends(by_plan) == ends(without)


def _without_time(value):
    return [{**each, "at": None, "started_at": None} for each in value] if isinstance(value, list) else value


def test_if_one_cannot_be_prepared_the_process_goes_on_preparing(plans, conn, database, enqueue, claim):
    enqueue()
    with conn.cursor() as cursor:
        cursor.execute("ALTER TABLE haulier.finished_job RENAME TO elsewhere")
    with pytest.raises(StatementRefused):
        claim()
    with conn.cursor() as cursor:
        cursor.execute("ALTER TABLE haulier.elsewhere RENAME TO finished_job")

    assert claim()
    subject = Database(database)
    with subject.connection() as another:
        claims.settle_and_claim(another, [], ClaimRequest(uuid4(), uuid4(), [], 1, 1))
        assert len(prepared_on(another)) == len(prepared.names)
    subject.close()


def test_what_somebody_took_away_is_an_outage_once(plans, database, enqueue, worker):
    subject = Database(database)
    enqueue(), enqueue()
    ask = {"worker_id": worker, "queues": ()}
    with subject.connection() as conn:
        first = queueing.claim(conn, claim_id=uuid4(), **ask)
        with conn.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")

    with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
        queueing.claim(conn, claim_id=uuid4(), **ask)

    with subject.connection() as conn:
        second = queueing.claim(conn, claim_id=uuid4(), **ask)
        assert prepared_on(conn) == []
    subject.close()
    assert len({job.id for job in first + second}) == 2


@pytest.mark.parametrize("name", prepared.names)
def test_what_a_pool_that_does_not_show_has_lent_out_prepared_is_not_prepared_again(plans, conn, enqueue, claim, name):
    with conn.cursor() as cursor:
        cursor.execute(as_prepared(name)[0])
    job = enqueue()

    claimed = claim()

    assert claimed.id == job.id
    assert not plans.are_kept


@pytest.mark.direct("a pool's connections keep nothing that is prepared")
def test_looks_at_a_job_also_once_a_migration_has_added_a_column(migrated_database):
    with closing(connect(migrated_database)) as conn:
        [receipt] = queueing.enqueue(conn, [NewJob("mail", {})])
        job = receipt.job
        assert search.get(conn, job.id).id == job.id
        [(view,)] = sql_on(conn)("SELECT pg_get_viewdef('haulier.jobs'::regclass)")
        wider = f"SELECT job.*, NULL::text AS added FROM ({view.rstrip(' ;')}) AS job"
        sql_on(conn)(f"CREATE OR REPLACE VIEW haulier.jobs AS {wider}")

        assert [search.get(conn, job.id).id for _ in range(2)] == [job.id] * 2
