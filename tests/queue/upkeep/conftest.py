"""A database with a history of its own, a database of version 1, and a made-up schema of version 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.steps import Schema, Step
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.archive import Archive
from tests.queue.upkeep.made_up import build_version_1, made_up_schema


@pytest.fixture
def archive(migrated_database: str) -> Iterator[Archive]:
    """Give a database with a history that the test may spoil."""
    with ExitStack() as opened:
        yield Archive(migrated_database, opened)


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    """Give the made-up schema of version 3, with its steps."""
    return made_up_schema(tmp_path_factory.mktemp("schema"))


@pytest.fixture(scope="session")
def steps(schema: Schema) -> list[Step]:
    return schema.steps_from(1)


@pytest.fixture
def version_1(fresh_database: str) -> Iterator[Connection]:
    """Give a connection to a database of version 1 with data in every table."""
    with closing(connect(fresh_database)) as conn:
        yield build_version_1(conn)


@pytest.fixture(scope="module")
def new(_make_database: Callable[[], str], schema: Schema) -> dict[tuple[str, str], str]:
    """Give the catalogue of a new database of version 3. Not of one that tests share: some give roles rights there."""
    with closing(connect(_make_database())) as conn:
        migrate(conn, retention_days=30, schema=schema)
        return shape(sql_on(conn))
