"""What every test may ask for: a real Postgres, a database in it, and patience."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import Error
from psycopg2.errors import DeadlockDetected
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, parse_dsn
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.kinds.sdk import registry
from haulier.local.throwaway import throwaway_database, throwaway_server
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from haulier.queue.claims.settle import prepared
from haulier.queue.jobs.acting import prepared as prepared_acts
from haulier.queue.jobs.enqueue import prepared as prepared_inserts
from haulier.queue.search.job_list import prepared as prepared_looks
from haulier.queue.upkeep.migrate import migrate
from tests.order import in_order
from tests.patience import PATIENCE, eventually
from tests.pooler import Pooler, pooler_to
from tests.roles import Roles, least_roles, let_create, make_roles, name_roles

# Threads that a process keeps once it needed them, and so no leak of the test that did so first.
LASTING = {"haulier-watchdog"}

# Every table in which a row was written since it was last truncated, but the version. To truncate, and so make new
# files, takes ten times as long as to delete; but dead rows must not become many. A transaction that a test left open
# must not block the next test.
EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%';
    DO $$
    DECLARE
        written record;
    BEGIN
        -- To delete workers is not to end them: no trigger is to write a row for the next test.
        PERFORM set_config('session_replication_role', 'replica', true);
        FOR written IN
            SELECT oid::regclass AS name, pg_table_size(oid) AS bytes
            FROM pg_class
            WHERE relnamespace = 'haulier'::regnamespace AND relkind = 'r' AND relname <> 'schema_version'
                AND pg_relation_size(oid) > 0
        LOOP
            IF written.bytes > 100000 THEN
                -- CASCADE, for another table may refer to it.
                EXECUTE format('TRUNCATE %s CASCADE', written.name);
            ELSE
                EXECUTE format('DELETE FROM %s', written.name);
            END IF;
        END LOOP;
    END
    $$
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to run everything by way of a connection pool."""
    parser.addoption(
        "--pgbouncer", action="store_true", help="connect through a PgBouncer in transaction mode (make test-pgbouncer)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say in one line, before any test, that the server of DATABASE_URL is of no use to them."""
    given = os.environ.get("DATABASE_URL")
    if given and not hasattr(config, "workerinput"):  # once, not in each of xdist's workers
        try:
            with throwaway_database(given):
                pass
        except HaulierError as error:
            pytest.exit(str(error), returncode=1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count as deselected, the tests about the pool if there is none; order the others."""
    has_pool = config.getoption("--pgbouncer")
    left_out = [] if has_pool else [item for item in items if item.get_closest_marker("pgbouncer")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = in_order([item for item in items if item not in left_out])


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture() -> Callable[..., object]:
    """Give the function itself, for tests that would rather not import it."""
    return eventually


@pytest.fixture
def own_kinds() -> Iterator[None]:
    """Forget, after the test, the kinds that it made known; Haulier's own stay, whose modules are imported once."""
    before = dict(registry._kinds)
    yield
    for name in registry._kinds.keys() - before.keys():
        if not registry._kinds[name].module.startswith("haulier."):
            del registry._kinds[name]
    registry._kinds.update(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the DSN of a server: an embedded one of this session's own, or that of DATABASE_URL."""
    with throwaway_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _pooler(postgres: str, request: pytest.FixtureRequest) -> Iterator[Pooler | None]:
    if not request.config.getoption("--pgbouncer"):
        yield None
        return
    with pooler_to(postgres) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def pooled(_pooler: Pooler | None) -> Callable[[str], str]:
    """Give a function that returns the DSN of the same database as programs have it: with --pgbouncer, by the pool."""
    return _pooler.through if _pooler else lambda dsn: dsn


@pytest.fixture(scope="session")
def direct(_pooler: Pooler | None) -> Callable[[str], str]:
    """Give a function that returns the DSN of the same database past any pool: for who listens, or ends connections."""
    return _pooler.around if _pooler else lambda dsn: dsn


@pytest.fixture(scope="session")
def _make_database(postgres: str, pooled: Callable[[str], str]) -> Iterator[Callable[[], str]]:
    with ExitStack() as made:

        def make() -> str:
            if os.environ.get("DATABASE_URL"):
                return pooled(made.enter_context(throwaway_database(postgres)))
            return pooled(copied(postgres, "template0"))

        yield make


def copied(postgres: str, template: str) -> str:
    """Return the DSN of a copy of the template."""
    name = f"haulier_test_{uuid4().hex[:12]}"
    with closing(connect(postgres)) as conn, conn.cursor() as cursor:
        # To write it all into the log, as by default, takes twice as long, and to drop such a copy four times as long.
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return url_of(postgres, name)


@pytest.fixture(scope="session")
def _drop_database(postgres: str) -> Callable[[str], None]:
    def drop(dsn: str) -> None:
        """Drop a database of one test: a server with hundreds of them took a minute to vanish."""
        if not os.environ.get("DATABASE_URL"):
            with closing(connect(postgres)) as conn, conn.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {parse_dsn(dsn)['dbname']} WITH (FORCE)")

    return drop


@pytest.fixture(scope="session")
def _make_migrated_database(
    postgres: str, _make_database: Callable[[], str], pooled: Callable[[str], str], direct: Callable[[str], str]
) -> Callable[[], str]:
    def migrated() -> str:
        dsn = _make_database()
        with closing(connect(direct(dsn))) as conn:
            migrate(conn, retention_days=30)
        return dsn

    # By day: with the schema comes a history that begins on the day of `migrate`.
    template = cache(lambda day: migrated())

    def make() -> str:
        if os.environ.get("DATABASE_URL"):  # where it would have to be dropped
            return migrated()
        return pooled(copied(postgres, parse_dsn(template(datetime.now(UTC).date()))["dbname"]))

    return make


@pytest.fixture
def _as_marked(request: pytest.FixtureRequest, direct: Callable[[str], str]) -> Callable[[str], str]:
    return direct if request.node.get_closest_marker("direct") else lambda dsn: dsn


@pytest.fixture
def fresh_database(
    _make_database: Callable[[], str], _drop_database: Callable[[str], None], _as_marked: Callable[[str], str]
) -> Iterator[str]:
    """Give the DSN of an empty database of the test's own."""
    dsn = _make_database()
    yield _as_marked(dsn)
    _drop_database(dsn)


@pytest.fixture
def migrated_database(
    _make_migrated_database: Callable[[], str], _drop_database: Callable[[str], None], _as_marked: Callable[[str], str]
) -> Iterator[str]:
    """Give the DSN of a database of the test's own with the schema in it: a copy, at half the price of `migrate`."""
    dsn = _make_migrated_database()
    yield _as_marked(dsn)
    _drop_database(dsn)


@pytest.fixture(scope="session")
def _migrated_database(_make_database: Callable[[], str]) -> str:
    dsn = _make_database()
    with closing(connect(dsn)) as conn:
        migrate(conn, retention_days=30)
    return dsn


@pytest.fixture(scope="session")
def _tidying(_migrated_database: str, direct: Callable[[str], str]) -> Iterator[Callable[[], Connection]]:
    kept: list[Connection] = []

    def tidying() -> Connection:
        """Return the connection that tidies up after each test: a new one each time took the server 10 ms more."""
        try:
            if kept:
                with kept[0].cursor() as cursor:
                    cursor.execute("SELECT")
        except Error:  # the test has ended it, with all others
            kept.pop().close()
        if not kept:
            kept.append(connect(direct(_migrated_database), application_name="tidying"))
        return kept[0]

    yield tidying
    for conn in kept:
        conn.close()


def _still_used(cursor: Cursor) -> list[str]:
    """Empty the tables; return why not, if a process that was killed still has a statement under way."""
    try:
        cursor.execute(EMPTY)
    except DeadlockDetected as error:
        return [str(error)]
    return []


@pytest.fixture
def database(
    _migrated_database: str, _as_marked: Callable[[str], str], _tidying: Callable[[], Connection]
) -> Iterator[str]:
    """Give the DSN of a database with the schema in it and not one row; the test must leave nobody inside."""
    before = set(threading.enumerate())
    yield _as_marked(_migrated_database)
    threads = _left(lambda: [each.name for each in set(threading.enumerate()) - before if each.name not in LASTING])
    with _tidying().cursor() as cursor:
        transactions = _left(lambda: _open_transactions(cursor))
        still_used = _left(lambda: _still_used(cursor))
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgenabled <> 'O' AND NOT tgisinternal")
        disabled = cursor.fetchall()
    assert not still_used, "the tables cannot be emptied for the tests that come after it"
    assert not disabled, "triggers turned off by the test, for all that come after it"
    assert not threads, "threads left by the test"
    assert not transactions, "transactions left open by the test"


def _open_transactions(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT pid, application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    return [f"{name} (pid {pid})" for pid, name in cursor.fetchall()]


def _left(found: Callable[[], list[str]]) -> list[str]:
    """Return what is still found after a moment: whoever was asked to stop may need one to do so."""
    deadline = time.monotonic() + PATIENCE
    while (still := found()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return still


@pytest.fixture
def config(database: str) -> Config:
    return Config(database_url=database)


@pytest.fixture(scope="session")
def _kept_conns() -> Iterator[dict[str, Connection]]:
    kept: dict[str, Connection] = {}
    yield kept
    for conn in kept.values():
        conn.close()


@pytest.fixture
def conn(database: str, _kept_conns: dict[str, Connection], _pooler: Pooler | None) -> Iterator[Connection]:
    """Give a connection in autocommit mode, as the program's own are.

    It may have served other tests: to know the tables a new one takes the server longer than most tests last.
    """
    conn = _kept_conns.pop(database, None) or connect(database, application_name="haulier test")
    yield conn
    if _pooler is None and _is_as_new(conn):
        _kept_conns[database] = conn
    else:
        conn.close()


def _is_as_new(conn: Connection) -> bool:
    """Undo what a test has set; tell whether the connection can serve another."""
    if conn.closed or not conn.autocommit or conn.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        return False
    try:
        with conn.cursor() as cursor:
            cursor.execute(
                "RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; CLOSE ALL; DISCARD TEMP; DEALLOCATE ALL"
            )
            cursor.execute("SELECT pg_advisory_unlock_all()")
    except Error:
        return False
    for each in (prepared, prepared_acts, prepared_inserts, prepared_looks):
        each._calls.pop(conn, None)
    conn.notifies.clear()
    conn.notices.clear()
    return True


Sql = Callable[..., list[tuple[Any, ...]]]


def sql_on(conn: Connection) -> Sql:
    """Return a function that runs any statement on the connection and returns its rows."""

    def sql(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with conn.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    return sql


@pytest.fixture
def sql(conn: Connection) -> Sql:
    return sql_on(conn)


@pytest.fixture(scope="session")
def _roles_to_copy(_make_database: Callable[[], str], direct: Callable[[str], str]) -> Callable[[date], Roles]:
    @cache
    def of(day: date) -> Roles:
        dsn = direct(_make_database())
        with closing(connect(dsn)) as conn:
            return make_roles(conn, dsn, name_roles())

    return of


@pytest.fixture
def roles(
    postgres: str,
    pooled: Callable[[str], str],
    _make_database: Callable[[], str],
    _roles_to_copy: Callable[[date], Roles],
    _drop_database: Callable[[str], None],
    _as_marked: Callable[[str], str],
) -> Iterator[Roles]:
    """Give the three roles in a database of the test's own, which has the schema in it."""
    if os.environ.get("DATABASE_URL"):  # where the roles would have to be dropped
        dsn = _as_marked(_make_database())
        with closing(connect(dsn)) as conn, least_roles(conn, dsn) as roles:
            yield roles
        return
    template = _roles_to_copy(datetime.now(UTC).date())
    dsn = _as_marked(pooled(copied(postgres, parse_dsn(template.url)["dbname"])))
    with closing(connect(postgres)) as conn:
        let_create(conn, dsn, template.names["owner"])
    yield Roles.of(template.names, dsn)
    _drop_database(dsn)


@pytest.fixture
def super_conn(roles: Roles) -> Iterator[Connection]:
    """Give a superuser's connection to the database of the roles."""
    with closing(connect(roles.url)) as conn:
        yield conn
