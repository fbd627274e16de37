"""The counts of failed attempts are summed as they grow old. Functions over a connection."""

from __future__ import annotations

from collections.abc import Callable

from haulier.postgres.statements import Connection, Row, rows

# So many rows one statement takes, and so many statements are sent at once; the next minute goes on.
ROWS_AT_ONCE, TIMES = 10_000, 20


# Rows of a source are summed into those of a longer step when they are so old: as the series of each span needs them.
# The source of a step is its length, negative; that of a minute is 0. Units: seconds.
STEPS = ((0, 300, 70 * 60), (-300, 900, 7 * 3600), (-900, 3600, 26 * 3600))


def fold(conn: Connection) -> None:
    """Sum the rows of all processes into one a minute, and old ones into longer steps; to be called once a minute."""
    _fold(lambda: rows(conn, "fold_error_sources", rows=ROWS_AT_ONCE))
    for source, longer, age in STEPS:
        told = {"source": source, "longer": longer, "age": age}
        _fold(lambda told=told: rows(conn, "fold_error_steps", **told, rows=ROWS_AT_ONCE))  # type: ignore[misc]


def _fold(some: Callable[[], list[Row]]) -> None:
    for _ in range(TIMES):
        [folded] = some()
        if folded["taken"] < ROWS_AT_ONCE:
            return
