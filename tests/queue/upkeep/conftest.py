"""A database with a history of its own, and databases of old versions of the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.archive import Archive
from tests.queue.upkeep.published import PUBLISHED, publish


@pytest.fixture
def archive(migrated_database: str) -> Iterator[Archive]:
    """Give a database with a history that the test may spoil."""
    with ExitStack() as opened:
        yield Archive(migrated_database, opened)


@pytest.fixture(params=PUBLISHED)
def old_version(fresh_database: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Give a connection to a database of an old version, with a job, a key and a worker at work."""
    with closing(connect(fresh_database)) as conn:
        yield publish(conn, request.param)


@pytest.fixture(
    params=[
        pytest.param(version, marks=() if version in (PUBLISHED[0], PUBLISHED[-1]) else (pytest.mark.slow,))
        for version in PUBLISHED
    ]
)
def first_or_last(fresh_database: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Give such a connection, in `make test` of the first and of the last published version alone."""
    with closing(connect(fresh_database)) as conn:
        yield publish(conn, request.param)


@pytest.fixture
def database_of_version_1(
    _make_database: Callable[[], str], _drop_database: Callable[[str], None], _as_marked: Callable[[str], str]
) -> Iterator[str]:
    """Give the DSN of a database of version 1, beside any other."""
    dsn = _as_marked(_make_database())
    with closing(connect(dsn)) as conn:
        publish(conn, 1)
    yield dsn
    _drop_database(dsn)


@pytest.fixture
def first_version(database_of_version_1: str) -> Iterator[Connection]:
    """Give a connection to a database of version 1."""
    with closing(connect(database_of_version_1)) as conn:
        yield conn


@pytest.fixture(scope="module")
def new(_make_database: Callable[[], str]) -> dict[tuple[str, str], str]:
    """Give what a new database has. Not the one that the tests share, to which some have given roles rights."""
    with closing(connect(_make_database())) as conn:
        migrate(conn, retention_days=30)
        return shape(sql_on(conn))
