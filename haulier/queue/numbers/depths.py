"""How many jobs live, by queue, kind and status: the worker process that counts the numbers counts them too."""

from __future__ import annotations

import time

from haulier.postgres.statements import Connection, rows
from haulier.queue.numbers.counts import MOST_PAIRS, alone, write_pairs

# This many pairs of queue and kind have rows of their own; one more has the sum of all others.
MOST_DEPTHS = 10_000


def count_live(conn: Connection) -> None:
    """Count the live jobs, due or not, by queue, kind and status."""
    began_at = time.monotonic()
    # Two at once would write the same rows, each in its own order.
    with alone(conn):
        limits = {"most_depths": MOST_DEPTHS, "most_pairs": MOST_PAIRS}
        write_pairs(conn, "count_live", "pairs_that_live", limits)
        rows(conn, "note_live", took=time.monotonic() - began_at)
