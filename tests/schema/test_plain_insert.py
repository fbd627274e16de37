"""The plain INSERT of an application: it ..."""

from __future__ import annotations

from contextlib import closing

import pytest

from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.claims.wakeups import Knock, knocks, listen
from tests.conftest import sql_on
from tests.schema.permitted import COLUMN_GRANT, INSERT, TABLE_GRANT


def test_a_plain_insert_of_kind_and_payload_is_a_job(sql, conn):
    sql(INSERT)

    [job] = [each.read() for each in search.list_jobs(conn, search.JobFilter()).jobs]
    assert (job.kind, job.payload, job.status, job.queue) == ("mail", {"n": 1}, JobStatus.QUEUED, "default")
    assert (job.priority, job.max_attempts, job.timeout_seconds, job.attempts) == (0, 3, None, 0)
    assert job.run_at == job.created_at == job.updated_at


def test_a_plain_insert_is_there_and_knocks_at_commit_though_its_role_sees_no_sleeper(
    application, database, direct, conn, sleeper
):
    with closing(connect(direct(database))) as listening:
        listen(listening)
        ear = knocks(listening, wait=0.05, probe=10)
        application.autocommit = False
        sql_on(application)(INSERT)
        before = (next(ear), search.list_jobs(conn, search.JobFilter()).jobs)

        application.commit()

        heard = next(knock for knock in ear if knock)
    assert before == (None, [])
    assert heard == Knock(sleeper)
    assert len(search.list_jobs(conn, search.JobFilter()).jobs) == 1


def test_the_knock_is_the_only_trigger_of_jobs_and_one_for_a_statement_not_a_row(sql):
    triggers = sql(
        "SELECT tgname, (tgtype & 1) = 0 FROM pg_trigger"
        " JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE relnamespace = 'haulier'::regnamespace AND relname LIKE '%job%' AND NOT tgisinternal"
    )

    assert triggers == [("knock", True)]


def test_a_plain_insert_needs_only_usage_and_insert(make_role, conn):
    for grant in (COLUMN_GRANT, TABLE_GRANT):
        application = make_role("GRANT USAGE ON SCHEMA haulier TO {}", grant)
        sql_on(application)(INSERT)
        sql_on(application)(
            "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, tags)"
            " VALUES ('mail', '{}', 'bulk', 7, now() + interval '1 day', 5, 60, '{vip,nightly}')"
        )

    jobs = search.list_jobs(conn, search.JobFilter()).jobs
    assert sorted((job.queue, tuple(job.tags)) for job in jobs) == [
        *[("bulk", ("vip", "nightly"))] * 2,
        *[("default", ())] * 2,
    ]


@pytest.mark.parametrize("path", ["trap", "trap, pg_catalog", "pg_temp, trap, haulier, pg_catalog"])
@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_a_plain_insert_does_not_depend_on_the_applications_search_path(conn, make_role, sql, sleeper, path):
    application = make_role("GRANT USAGE ON SCHEMA haulier TO {}", COLUMN_GRANT)
    sql(f"CREATE SCHEMA trap AUTHORIZATION {application.info.user}")
    trap = sql_on(application)
    springs = " LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'"
    try:
        for name, arguments, returns in (
            ("pg_notify", "text, text", "void"),
            ("uuidv7", "", "uuid"),
            ("knock", "", "void"),
            ("now", "", "timestamptz"),
            ("random", "", "float8"),
            ("array_agg", "text", "text[]"),
            ("overlap", "text[], text[]", "boolean"),
        ):
            trap(f"CREATE FUNCTION trap.{name}({arguments}) RETURNS {returns}" + springs)
        trap("CREATE OPERATOR trap.&& (LEFTARG = text[], RIGHTARG = text[], FUNCTION = trap.overlap)")
        for table in ("sleeper", "enqueued"):
            trap(f"CREATE TABLE trap.{table} (worker_id uuid, queues text[], queue text)")
            trap(f"CREATE TEMPORARY TABLE {table} (worker_id uuid, queues text[], queue text)")
        trap(f"SET search_path = {path}")

        trap(INSERT)
    finally:
        application.close()
        sql("DROP SCHEMA trap CASCADE")

    assert len(search.list_jobs(conn, search.JobFilter()).jobs) == 1
