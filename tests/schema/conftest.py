"""Roles with few rights, and a worker that sleeps: what the tests of schema.sql begin from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn

from app.api import build
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.claims.wakeups import fall_asleep
from tests.conftest import sql_on
from tests.docs.reading import blocks
from tests.roles import Roles, url_as
from tests.schema.permitted import COLUMN_GRANT


@pytest.fixture
def make_role(conn: Connection, database: str) -> Iterator[Callable[..., Connection]]:
    """Give a function that connects as a new role with these rights; "{}" stands for its name."""
    sql, made = sql_on(conn), []
    if sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("the role of DATABASE_URL may not make other roles")
    with ExitStack() as opened:

        def make_role(*grants: str, url: str = database) -> Connection:
            name = f"haulier_test_{uuid4().hex[:12]}"
            sql(f"CREATE ROLE {name} LOGIN PASSWORD 'swordfish'")
            made.append(name)
            with closing(connect(url)) as there:
                for grant in grants:
                    sql_on(there)(grant.format(name))
            return opened.enter_context(closing(connect(make_dsn(url, user=name, password="swordfish"))))

        yield make_role
        opened.close()
        for name in made:
            sql(f"DROP OWNED BY {name}")
            sql(f"DROP ROLE {name}")


@pytest.fixture
def application(make_role: Callable[..., Connection]) -> Connection:
    """Give the connection of an application with USAGE, and INSERT on the columns it may set."""
    return make_role("GRANT USAGE ON SCHEMA haulier TO {}", COLUMN_GRANT)


@pytest.fixture
def urls(roles: Roles, super_conn: Connection) -> Iterator[dict[str, str]]:
    """Give the DSN of each role of docs/database.md that is not the owner."""
    sql, name = sql_on(super_conn), f"haulier_test_{uuid4().hex[:12]}"
    [grants] = [block for block in blocks("docs/database.md", "sql") if "CREATE ROLE shop" in block]
    sql(re.sub(r"\bshop\b", name, grants))
    sql(f"ALTER ROLE {name} PASSWORD 'swordfish'")
    yield {"web": roles.web, "worker": roles.worker, "application": url_as(roles.url, name)}
    sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def client(roles: Roles) -> Iterator[FlaskClient]:
    app = build(Config(database_url=roles.web))
    yield app.test_client()
    app.extensions["haulier"].database.close()


@pytest.fixture
def sleeper(conn: Connection) -> UUID:
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=("default",), lease_seconds=30)
    fall_asleep(conn, worker)
    return worker
