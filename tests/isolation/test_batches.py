"""Every batch with one row of a hundred refused, or all: for each class of SQLSTATE, at once or at the commit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import Refusal
from haulier.postgres.errors import translated
from tests.conftest import EMPTY
from tests.isolation.batches import BATCHES, ROWS, Batch
from tests.isolation.rows import refusing

# Of each class that a trigger may raise for one row, also of a private one, and one that looks as if it passed.
SQLSTATES = ("22023", "23514", "42P01", "55000", "P0001", "MY001")
EVERY_CELL = [
    (sqlstate, is_deferred, is_all)
    for sqlstate in SQLSTATES
    for is_deferred in (False, True)
    for is_all in (False, True)
]
SEED, DRAWN = 32, 2
# Whoever notes that a worker has ended must not keep it from ending.
NEVER_HELD_UP = {"note the dead"}


@pytest.mark.direct("what it makes are triggers, which a pool would show to others")
@pytest.mark.parametrize("cells", [None, pytest.param(EVERY_CELL, marks=pytest.mark.slow)], ids=["some", "every"])
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_a_refused_row_holds_up_no_other(batch: Batch, cells: Any, conn: Connection) -> None:
    # By the batch's name, so that together the short forms have every cell.
    drawn = random.Random(f"{SEED} {batch.name}").sample(EVERY_CELL, DRAWN)

    broken = {cell: found for cell in cells or drawn if (found := list(_broken(batch, conn, *cell)))}

    assert broken == {}


def _broken(batch: Batch, conn: Connection, sqlstate: str, is_deferred: bool, is_all: bool) -> Iterator[str]:
    """Yield what does not hold of a batch."""
    with conn.cursor() as cursor:
        cursor.execute(EMPTY)
    batch.prepare(conn)
    with refusing(conn, batch.table, batch.event, batch.condition(is_all=is_all), sqlstate, is_deferred=is_deferred):
        try:
            with suppress(Refusal) if is_all else translated(), translated():
                batch.act(conn)
        except Exception as error:
            yield f"{type(error).__name__}: {error}"
        left, refused = _left(batch, conn), ROWS if is_all else 1
    if left != (0 if batch.name in NEVER_HELD_UP else refused):
        yield f"{left} rows are left, {refused} of them refused"
    batch.act(conn)
    if left := _left(batch, conn):
        yield f"{left} rows are left once nothing is refused"


def _left(batch: Batch, conn: Connection) -> int:
    with conn.cursor() as cursor:
        cursor.execute(batch.left)
        return int(cursor.fetchone()[0])
