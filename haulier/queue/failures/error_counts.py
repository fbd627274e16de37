"""The counts of failed attempts are summed as they grow old. Functions over a connection."""

from __future__ import annotations

from typing import Any

from haulier.postgres.halves import in_order
from haulier.postgres.statements import Connection, rows

# This many rows one statement takes, and this many statements are sent at once; the next minute continues.
ROWS_AT_ONCE, TIMES = 10_000, 20
# Rows of a source are summed into those of a longer step when they are so old: as the series of each span needs them.
# The source of a step is its length, negative; that of a minute is 0. Units: seconds.
STEPS = ((0, 300, 70 * 60), (-300, 900, 7 * 3600), (-900, 3600, 26 * 3600))


def fold(conn: Connection) -> None:
    """Sum the rows of all processes into one a minute, and old ones into longer steps; to be called once a minute."""
    _fold_some(conn, "fold_error_sources")
    for source, longer, age in STEPS:
        _fold_some(conn, "fold_error_steps", source=source, longer=longer, age=age)


def _fold_some(conn: Connection, name: str, **parameters: Any) -> None:
    times = 0

    def some(limit: int, offset: int) -> int:
        nonlocal times
        [folded] = rows(conn, name, **parameters, limit=limit, offset=offset)
        times += 1
        return int(folded["taken"]) if times < TIMES else 0

    in_order(some, ROWS_AT_ONCE)
