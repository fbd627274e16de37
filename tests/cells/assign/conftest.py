"""Two cells with their databases and APIs, and a tenant to be assigned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection
from werkzeug.test import TestResponse

from app.api import build
from app.http import keyring
from haulier.cells.assign import Side, assign, side_of
from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import Sql, sql_on
from tests.http.callers import bearer
from tests.web import EMAIL

# The lines that a whole assignment says.
STEPS = 5


@dataclass
class Cell:
    """A cell, with a connection to its database and a client of its API."""

    dsn: str
    side: Side
    client: FlaskClient

    @property
    def conn(self) -> Connection:
        return self.side.conn

    @property
    def sql(self) -> Sql:
        return sql_on(self.conn)

    def post(self, token: str, name: str | None = None, **changes: Any) -> TestResponse:
        named = {} if name is None else {"Idempotency-Key": name}
        return self.client.post("/jobs", json={**EMAIL, **changes}, headers={**bearer(token), **named})

    def moved_to(self, key_id: str) -> list[int | None]:
        return [moved_to for [moved_to] in self.sql("SELECT moved_to FROM haulier.api_key WHERE id = %s", key_id)]

    def new_key(self, *scopes: Scope, **options: Any) -> tuple[ApiKey, str]:
        return api_keys.create(self.conn, NewKey("shop", scopes or [Scope.ADMIN], **options), actor="cli")


Cells = tuple[Cell, Cell]


@pytest.fixture(scope="module")
def _cells(
    _make_migrated_database: Callable[[], str], _drop_database: Callable[[str], None], direct: Callable[[str], str]
) -> Iterator[Cells]:
    with ExitStack() as left:

        def make(number: int) -> Cell:
            dsn = direct(_make_migrated_database())
            left.callback(_drop_database, dsn)
            conn = left.enter_context(closing(connect(dsn)))
            migrate(conn, retention_days=30, cell=number)
            app = build(Config(database_url=dsn))
            left.callback(app.extensions["haulier"].database.close)
            return Cell(dsn, side_of(conn, f"URL_{number}"), app.test_client())

        yield make(1), make(2)


@pytest.fixture
def cells(_cells: Cells, monkeypatch: pytest.MonkeyPatch) -> Cells:
    """Give cells 1 and 2, whose web processes look up a key each time."""
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 0.0)
    return _cells


def crash_after(steps: int, giving: Cell, taking: Cell, key_id: str) -> None:
    run = assign(giving.side, taking.side, key_id)
    list(islice(run, steps))


def move(giving: Cell, taking: Cell, key_id: str) -> list[str]:
    return list(assign(giving.side, taking.side, key_id))
