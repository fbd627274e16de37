"""How schema.sql is applied, and what is there then: it ..."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from functools import partial
from uuid import RFC_4122, uuid4

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import InvalidTransition, JobChanged
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims, jobs, search
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.purge import purge_idempotency
from haulier.queue.upkeep.steps import SCHEMA
from tests import queueing
from tests.conftest import Sql, sql_on
from tests.rivals import at_the_same_moment, beside, connected
from tests.schema.permitted import INSERT

# --- What it looks like


def columns(sql: Sql, table: str) -> list[str]:
    return [
        row[0]
        for row in sql(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'haulier' AND table_name = %s",
            table,
        )
    ]


def test_the_views_columns_are_the_fields_of_job_and_two_for_filters(sql):
    assert sorted(columns(sql, "jobs")) == sorted([*Job._fields, "error_id", "operation_id"])


def test_ids_are_distinct_uuids_of_version_7_in_the_order_of_time(sql):
    made = [row[0] for row in sql("SELECT haulier.uuidv7() FROM generate_series(1, 20000)")]
    [[in_order]] = sql(
        "SELECT bool_and(milliseconds BETWEEN before AND after) FROM ("
        "  SELECT ('x' || translate(left(haulier.uuidv7()::text, 13), '-', ''))::bit(48)::bigint AS milliseconds,"
        "    floor(extract(epoch FROM statement_timestamp()) * 1000) AS before,"
        "    floor(extract(epoch FROM statement_timestamp()) * 1000) + 60000 AS after) AS made"
    )

    assert {(job_id.version, job_id.variant) for job_id in made} == {(7, RFC_4122)}
    assert len(set(made)) == 20_000
    assert in_order


# --- How it is applied


def test_applies_to_an_empty_database_and_again(fresh_database):
    with closing(connect(fresh_database)) as conn:
        first = migrate(conn, retention_days=30)
        before = sql_on(conn)("SELECT count(*) FROM pg_class WHERE relnamespace = 'haulier'::regnamespace")
        sql_on(conn)(INSERT)
        second = migrate(conn, retention_days=30)
        sql_on(conn)(SCHEMA.text)

        assert first == f"applied schema version {SCHEMA.version}; 8 history partitions made"
        assert second == f"schema version {SCHEMA.version} is up to date; 0 history partitions made"
        assert before == sql_on(conn)("SELECT count(*) FROM pg_class WHERE relnamespace = 'haulier'::regnamespace")
        assert sql_on(conn)("SELECT count(*) FROM haulier.job") == [(1,)]


def apply_with_migrate(conn: Connection) -> str:
    return migrate(conn, retention_days=30)


def apply_as_psql_does(conn: Connection) -> str:
    with conn.cursor() as cursor:
        cursor.execute(f"BEGIN; {SCHEMA.text}; COMMIT")
    return "applied"


@pytest.mark.parametrize(
    ("apply", "said"),
    [(apply_with_migrate, ["applied", "schema ", "schema ", "schema "]), (apply_as_psql_does, ["applied"] * 4)],
)
def test_applies_from_several_at_once(fresh_database, apply, said):
    answers = at_the_same_moment(*[connected(fresh_database, apply)] * 4)

    assert sorted(str(answer)[:7] for answer in answers) == said


def test_applies_again_while_the_system_is_at_work(fresh_database):
    with closing(connect(fresh_database)) as conn:
        migrate(conn, retention_days=30)
    over, rounds = threading.Event(), []

    def work(number: int, conn: Connection) -> None:
        worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        while not over.is_set():
            sql_on(conn)(INSERT)
            new = NewJob("mail", {}, idempotency_key=f"{number} {len(rounds)}")
            created, replayed, _ = queueing.enqueue(conn, [new, new, NewJob("mail", {})])
            assert replayed.job == created.job
            for job in queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=2):
                claims.settle(conn, [Settlement(Fence.of(job), Outcome.complete())])
            # Another of the three may run or end the job between the two acts.
            with suppress(InvalidTransition, JobChanged):
                jobs.cancel(conn, created.job.id)
                jobs.retry(conn, created.job.id)
            queueing.rescue(conn)
            search.list_jobs(conn, search.JobFilter(limit=5))
            purge_idempotency(conn, idempotency_days=30)
            rounds.append(number)

    with beside(*(connected(fresh_database, partial(work, number)) for number in range(3))) as results:
        try:
            with closing(connect(fresh_database)) as conn:
                for _ in range(15):
                    sql_on(conn)(f"BEGIN; {SCHEMA.text}; COMMIT")
        finally:
            over.set()

    assert results == [None] * 3
    assert set(rounds) == {0, 1, 2}


def test_needs_no_right_but_to_create_in_the_database(fresh_database, make_role):
    name = psycopg2.extensions.parse_dsn(fresh_database)["dbname"]
    owner = make_role(f"GRANT CREATE ON DATABASE {name} TO {{}}", url=fresh_database)

    migrate(owner, retention_days=30)
    sql_on(owner)(INSERT)
    worker = claims.register(owner, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    [job] = queueing.claim(owner, worker_id=worker, claim_id=uuid4(), queues=())
    claims.settle(owner, [Settlement(Fence.of(job), Outcome.complete())])

    assert search.get(owner, job.id).status is JobStatus.SUCCEEDED
    role = owner.info.user
    owner.close()
    with closing(connect(fresh_database)) as conn:
        sql_on(conn)("DROP SCHEMA haulier CASCADE")
        sql_on(conn)(f"REVOKE ALL ON DATABASE {name} FROM {role}")


def test_leaves_nothing_if_applying_fails(fresh_database):
    text = SCHEMA.text + "\nSELECT 1 / 0;"
    with closing(connect(fresh_database)) as conn:
        with pytest.raises(errors.DivisionByZero):
            sql_on(conn)(text)

        assert sql_on(conn)("SELECT to_regnamespace('haulier')") == [(None,)]
