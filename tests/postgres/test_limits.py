"""The look at how many connections there may be: it ..."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn, parse_dsn

from haulier.postgres.connection import connect
from haulier.postgres.limits import too_many
from tests.conftest import eventually, sql_on
from tests.web import gunicorn

ROOT = Path(__file__).parents[2]
Limited = Callable[..., str]
Said = Callable[..., str | None]


@pytest.fixture
def super_conn(fresh_database: str) -> Iterator[Connection]:
    """Give a superuser's connection to the database whose limits change."""
    with closing(connect(fresh_database)) as conn:
        yield conn


@pytest.fixture
def limited(super_conn: Connection, fresh_database: str) -> Iterator[Limited]:
    """Give a function that returns the DSN for a role and a database with these connection limits."""
    sql, role = sql_on(super_conn), f"haulier_test_{uuid4().hex[:12]}"
    name = parse_dsn(fresh_database)["dbname"]
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'swordfish'")
    sql(f"GRANT CREATE ON DATABASE {name} TO {role}")

    def limit(*, role_to: int = -1, database_to: int = -1) -> str:
        sql(f"ALTER ROLE {role} CONNECTION LIMIT {role_to}")
        sql(f"ALTER DATABASE {name} CONNECTION LIMIT {database_to}")
        dsn = make_dsn(fresh_database, user=role, password="swordfish")
        return "postgresql://?" + dsn.replace(" ", "&")

    yield limit
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
    sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def said(super_conn: Connection) -> Said:
    """Give a function that returns the complaint about `needed` connections beside others, and leaves none open."""
    sql = sql_on(super_conn)

    def said(dsn: str, needed: int, others: int = 0, *, beside_others: bool = True) -> str | None:
        with ExitStack() as stack:
            conn, *rest = [stack.enter_context(closing(connect(dsn))) for _ in range(1 + others)]
            pids = [each.get_backend_pid() for each in (conn, *rest)]
            answer = too_many(conn, needed, beside_others=beside_others)
        eventually(lambda: not sql("SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", pids))
        return answer

    return said


@pytest.mark.direct("is about the limits of the server's own connections")
def test_names_the_limit_of_the_role_before_it_is_met(limited: Limited, said: Said) -> None:
    dsn = limited(role_to=9)
    role = parse_dsn(dsn)["user"]

    assert said(dsn, 6, 3) is None
    assert said(dsn, 6, 4) == (
        f"up to 6 database connections in addition to the 4 open now are more than the 9 of the role {role}"
    )
    assert said(dsn, 6, 4, beside_others=False) is None
    assert said(dsn, 10, beside_others=False) is not None


@pytest.mark.direct("is about the limits of the server's own connections")
def test_names_the_limit_of_a_shared_database(limited: Limited, said: Said, fresh_database: str) -> None:
    dsn = limited(database_to=9)

    # With the superuser's of this test.
    assert said(dsn, 6, 2) is None
    assert "in addition to the 4 open now are more than the 9 of the database" in str(said(dsn, 6, 3))
    assert said(fresh_database, 30) is None


@pytest.mark.direct("is about the limits of the server's own connections")
def test_names_the_limit_of_the_server_without_reserved_connections(
    limited: Limited, said: Said, super_conn: Connection
) -> None:
    [(most, reserved)] = sql_on(super_conn)(
        "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
    )

    assert said(limited(), most - reserved, beside_others=False) is None
    assert "of the server" in str(said(limited(), most - reserved + 1, beside_others=False))


@pytest.mark.pgbouncer
def test_says_nothing_behind_a_pool_with_its_own_limits(fresh_database: str) -> None:
    with closing(connect(fresh_database)) as conn:
        assert too_many(conn, 1_000_000) is None


def test_does_not_fail_on_a_closed_connection(fresh_database: str) -> None:
    conn = connect(fresh_database)
    conn.close()

    assert too_many(conn, 1_000_000) is None


@pytest.mark.direct("is about the limits of the server's own connections")
def test_migrate_web_and_worker_name_the_setting_to_lower(limited: Limited, super_conn: Connection) -> None:
    dsn, sql = limited(role_to=10), sql_on(super_conn)

    def wait_for(number: int) -> None:
        mine = "SELECT pid FROM pg_stat_activity WHERE usename = %s"
        eventually(lambda: len(sql(mine, parse_dsn(dsn)["user"])) == number)

    migrated = run(dsn, "migrate")
    with ExitStack() as others:
        for _ in range(2):
            others.enter_context(closing(connect(dsn)))
        wait_for(2)
        with gunicorn(dsn, eventually, WEB_THREADS="5") as server:
            web = server.log.read_text()
        wait_for(2)
        for _ in range(5):
            others.enter_context(closing(connect(dsn)))
        worker = start_worker(dsn)

    needs = "up to 12 database connections are more than the 10 of the role"
    assert (migrated.returncode, migrated.stderr.count("\n")) == (0, 1)
    assert f"haulier: with one web and one worker process, {needs}" in migrated.stderr
    assert "lower WEB_CONCURRENCY, WEB_THREADS or WORKER_PROCESSES" in migrated.stderr
    assert web.count("up to 10 database connections in addition to the 2 open now") == 1
    assert "lower WEB_CONCURRENCY or WEB_THREADS" in web
    assert worker.count("up to 5 database connections in addition to the 7 open now") == 1
    assert "lower WORKER_PROCESSES" in worker


def environ(dsn: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "DATABASE_URL": dsn, "WORKER_METRICS_PORT": "0"}


def run(dsn: str, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "haulier", command], cwd=ROOT, env=environ(dsn), capture_output=True, text=True
    )


def start_worker(dsn: str) -> str:
    """Return what a worker says until it works."""
    command = [sys.executable, "worker.py"]
    with subprocess.Popen(command, cwd=ROOT, env=environ(dsn), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        lines = []
        for line in worker.stdout:
            lines.append(line)
            if "working with" in line:
                worker.terminate()
        return "".join(lines)
