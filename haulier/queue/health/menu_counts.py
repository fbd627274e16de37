"""How many jobs run and have failed in an hour, and how many workers are alive: for the dashboard's menu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulier.postgres.statements import Connection, rows

# At most this many counts of errors are read: some milliseconds.
MOST_COUNTS = 20_000


@dataclass(frozen=True, slots=True)
class MenuCounts:
    """The counts of what the caller may see.

    `running` is None if nobody counts; at most as many run as there are threads. `failed` permanently in the last hour;
    if `is_failed_part`, that many or more.
    """

    running: int | None
    failed: int
    is_failed_part: bool
    workers: int


def menu_counts(conn: Connection, *, queues: Sequence[str] | None = None) -> MenuCounts:
    """Return the counts. `queues` are those that the caller may see; None: every queue."""
    shown = None if queues is None else list(queues)
    [row] = rows(conn, "menu_counts", queues=shown, queue=None, most=MOST_COUNTS)
    running = row["running"]
    if running is not None and row["threads"]:
        running = min(running, row["threads"])
    return MenuCounts(running, row["failed"], row["is_failed_part"], row["workers"])
