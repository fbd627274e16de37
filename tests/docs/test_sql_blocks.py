"""The SQL of the documentation runs, and its grants allow what they say and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from tests.docs.reading import blocks

PAGES = ("README.md", "docs/quickstart.md", "docs/deploy.md", "docs/watch.md", "docs/database.md")
STATEMENTS = [(page, sql) for page in PAGES for sql in blocks(page, "sql")]
GRANTS = [sql for _, sql in STATEMENTS if "GRANT" in sql]


def test_sql_of_the_docs_runs(migrated_database: str) -> None:
    # A database of its own: some of the statements turn off what later tests need. As the pages write it, each block
    # by itself, so on a session of its own.
    refused = []
    for page, sql in STATEMENTS:
        with _as_psql(migrated_database) as conn, _own_role(conn, sql) as own, conn.cursor() as cursor:
            try:
                cursor.execute(own)
            except errors.Error as error:
                refused.append((page, sql, str(error)))

    assert refused == []
    assert {page for page, _ in STATEMENTS} == set(PAGES)
    assert len(GRANTS) == 1


def test_the_readmes_insert_makes_a_job_and_its_rollback_none(database: str, conn: Connection) -> None:
    [readme] = blocks("README.md", "sql")

    with _as_psql(database) as psql, psql.cursor() as cursor:
        cursor.execute(readme.replace("COMMIT", "ROLLBACK"))
        rolled_back = _jobs(conn)
        cursor.execute(readme)

    assert rolled_back == []
    assert [(kind, status) for kind, status in _jobs(conn)] == [("send_email", "queued")]


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_the_grants_allow_to_enqueue_and_nothing_else(database: str, conn: Connection) -> None:
    with _as_psql(database) as psql, _own_role(psql, GRANTS[0]) as grants, psql.cursor() as cursor:
        cursor.execute(grants)
        cursor.execute(f"SET ROLE {_role_of(grants)}")
        cursor.execute("""INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{"to": "a@b.c"}')""")
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds)"
            " VALUES ('send_email', '{}', 'mail', 5, now() + interval '1 day', 7, 60)"
        )

        for forbidden in (
            "INSERT INTO haulier.job (kind, payload, idempotency_key) VALUES ('send_email', '{}', 'key')",
            "INSERT INTO haulier.job (id, kind, payload) VALUES (gen_random_uuid(), 'send_email', '{}')",
            "INSERT INTO haulier.job (kind, payload, status) VALUES ('send_email', '{}', 'running')",
            "INSERT INTO haulier.job (kind, payload, created_at) VALUES ('send_email', '{}', now())",
            "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES ('key', '', gen_random_uuid())",
            "INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{}') RETURNING payload",
            "INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{}')"
            " ON CONFLICT (id) DO UPDATE SET priority = 9",
            *(
                f"SELECT {column} FROM haulier.job"
                for column in ("payload", "kind", "queue", "status", "last_error", "*")
            ),
            "SELECT id FROM haulier.job FOR UPDATE",
            "SELECT id FROM haulier.job WHERE kind = 'send_email'",
            "SELECT haulier.wake('{default}')",
            "SELECT id FROM haulier.jobs",
            "SELECT id FROM haulier.finished_job",
            "UPDATE haulier.job SET priority = 100",
            "DELETE FROM haulier.job",
            "TRUNCATE haulier.job",
            "CREATE TABLE haulier.mine ()",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                cursor.execute(forbidden)
        cursor.execute("SELECT id, run_at FROM haulier.job")
        seen = len(cursor.fetchall())
        cursor.execute("RESET ROLE")

    assert seen == 2
    assert _jobs(conn) == [("send_email", "queued")] * 2


@contextmanager
def _as_psql(database: str) -> Iterator[Connection]:
    with closing(connect(database, application_name="haulier test")) as conn:
        yield conn


@contextmanager
def _own_role(conn: Connection, sql: str) -> Iterator[str]:
    """Give the statements with a role of the test's own in them: roles belong to the whole server."""
    if "CREATE ROLE" not in sql:
        yield sql
        return
    with conn.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            pytest.skip("the role of DATABASE_URL may not create roles")
        sql = sql.replace(_role_of(sql), f"haulier_test_{uuid4().hex[:12]}")
        try:
            yield sql
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [_role_of(sql)])
            if cursor.rowcount:
                cursor.execute(f"DROP OWNED BY {_role_of(sql)}; DROP ROLE {_role_of(sql)}")


def _role_of(sql: str) -> str:
    return re.findall(r"CREATE ROLE (\w+)", sql)[0]


def _jobs(conn: Connection) -> list[tuple[str, str]]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT kind, status FROM haulier.jobs ORDER BY created_at")
        return cursor.fetchall()
