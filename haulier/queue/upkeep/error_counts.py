"""The counts of failed attempts are summed as they grow old. Functions over a connection."""

from __future__ import annotations

from collections.abc import Callable

from haulier.postgres.statements import Connection, Row, rows

# So many rows one statement takes, and so many statements are sent at once; the next minute goes on.
ROWS_AT_ONCE, TIMES = 10_000, 20


def fold(conn: Connection) -> None:
    """Sum the rows of all processes into one a minute, and old minutes into hours; to be called once a minute."""
    _fold(lambda: rows(conn, "fold_error_sources", rows=ROWS_AT_ONCE))
    _fold(lambda: rows(conn, "fold_error_minutes", rows=ROWS_AT_ONCE))


def _fold(some: Callable[[], list[Row]]) -> None:
    for _ in range(TIMES):
        [folded] = some()
        if folded["taken"] < ROWS_AT_ONCE:
            return
