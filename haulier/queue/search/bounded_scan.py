"""How a list, a count and an operation look at jobs, newest first.

No look is without a bound: if a filter leaves few of many jobs, it ends after some time and says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import STATEMENT_SECONDS, Connection, Row, is_outside_transactions
from haulier.postgres.values import utc
from haulier.queue.search.arrivals import ALWAYS, NEVER, Window, windows
from haulier.queue.search.job_filter import JobFilter, Position

# Start no new statement after LOOK_SECONDS. Cancel the running one after PATIENCE times that.
LOOK_SECONDS, PATIENCE = 0.1, 1.3
# This many waiting, and this many finished, jobs are looked at by the first statement, and at most by a further one.
FIRST_ROWS, MOST_ROWS = 5_000, 50_000
# A statement reads at most this many times the rows of the one before, and as many as take this share of the time left.
MOST_GROWTH, SHARE = 4, 0.8
# Of tags that no more jobs have than this, all jobs are read by the indexes of tags.
MOST_TAGGED = 1_000
# After this long the look continues without the indexes of tags: all entries of a tag are read, and there may be
# millions, such as of jobs that ended while somebody holds a snapshot.
TAGGED_SECONDS = 0.5
# This many payloads are read by the first statement that looks into them: each may have 256 KB.
FIRST_PAYLOADS = 200

LEAST, MOMENT = UUID(int=0), timedelta(microseconds=1)


def first_rows(wanted: JobFilter, enough: int | None = None) -> int:
    """Return how many jobs the first statement looks at, if this many would be enough if all were wanted."""
    if wanted.payload:
        return FIRST_PAYLOADS
    if enough is None:
        return FIRST_ROWS
    return max(enough, FIRST_ROWS) if wanted.is_selective else enough


class Reader(Protocol):
    """Reads some of the wanted jobs by one statement."""

    conn: Connection
    wanted: JobFilter

    @property
    def is_full(self) -> bool:
        """Return whether no further jobs are wanted."""

    def read(
        self, after: Position | None, created_after: datetime | None, most_rows: int, seconds: float
    ) -> Position | None:
        """Read the jobs after a position, and return where the look ended; None if nothing older is left.

        Raises: QueryCanceled if that takes longer than this many seconds, unless a transaction is open.
        """

    def read_tagged(self, after: Position) -> bool:
        """Read all jobs after a position by the indexes of their tags; return False if these do not help."""


def look_back(reader: Reader, most_rows: int, seconds: float | None = None) -> Position | None:
    """Read from the newest job on, and return where that ended; None if nothing older is left, or wanted.

    Units: it begins no statement after this many seconds; LOOK_SECONDS by default.
    """
    pace = _Pace(most_rows, LOOK_SECONDS if seconds is None else seconds)
    ended = reader.read(reader.wanted.after, reader.wanted.created_after, most_rows, STATEMENT_SECONDS)
    if ended is None or (not reader.is_full and _reads_tagged(reader, ended, pace)):
        return None
    for window in _windows(reader, ended):
        ended = min(ended or (NEVER, LEAST), (window.ends_at, LEAST))
        while ended and not reader.is_full:
            fit = pace.next()
            if fit is None:
                return ended
            try:
                ended = reader.read(ended, window.begins_at - MOMENT, fit, pace.seconds_left)
            except sqlstate.QueryCanceled:
                if not is_outside_transactions(reader.conn):
                    raise
                # The next look begins where this statement did, with what it has brought into memory.
                return ended
    return None


def _reads_tagged(reader: Reader, ended: Position, pace: _Pace) -> bool:
    """Read all jobs after a position by the indexes of the tags that are asked for, and return whether these helped."""
    if reader.wanted.tags is None:
        return False
    with pace.paused():
        try:
            return reader.read_tagged(ended)
        except sqlstate.QueryCanceled:
            if not is_outside_transactions(reader.conn):
                raise
            return False


class _Pace:
    """Decides how many rows each statement of a look may read, so that the last ends in time."""

    def __init__(self, rows_: int, seconds: float) -> None:
        self._rows, self._seconds = rows_, seconds
        self._began_at = self._at = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of the time that the look takes."""
        at = time.monotonic()
        yield
        took = time.monotonic() - at
        self._began_at, self._at = self._began_at + took, self._at + took

    @property
    def seconds_left(self) -> float:
        """Return how long the next statement may take before it is given up."""
        # To the server 0 is no limit.
        return max(self._began_at + PATIENCE * self._seconds - time.monotonic(), 0.001)

    def next(self) -> int | None:
        """Return how many rows the next statement may read, as far as the one before says; None for no further one."""
        now = time.monotonic()
        left, took = self._began_at + self._seconds - now, now - self._at
        if left <= self._seconds / 10:
            return None
        # Rows with large payloads take long, and so do pages that nobody has read for long, which the statement before
        # does not show. So each reads a few times as many rows, and not all that seem to fit.
        fit = int(self._rows * min(SHARE * left / max(took, 1e-6), MOST_GROWTH))
        self._rows, self._at = max(1, min(fit, MOST_ROWS)), now
        return self._rows


def _windows(reader: Reader, ended: Position) -> Iterator[Window]:
    """Yield where to look on after the first statement, the newest first."""
    wanted, before = reader.wanted, ended[0] + MOMENT
    if wanted.kinds is not None or wanted.queues is not None:
        found = windows(reader.conn, kinds=wanted.kinds, queues=wanted.queues, before=before)
    else:
        found = iter([Window(ALWAYS, before)])
    while not reader.is_full and (window := next(found, None)):
        if wanted.created_after and window.ends_at <= wanted.created_after:
            return
        yield window


def sent_with(
    wanted: JobFilter, after: Position | None, created_after: datetime | None, most_rows: int
) -> dict[str, Any]:
    """Return what each statement that looks is sent with."""
    return {
        **wanted.conditions,
        **wanted.times,
        "created_after": max(filter(None, (created_after, wanted.created_after)), default=None),
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "least_id": LEAST,
        "most_rows": most_rows,
    }


def sent_for_tags(wanted: JobFilter, after: Position, most_tagged: int | None = None) -> dict[str, Any]:
    """Return what each statement is sent with that reads all jobs of some tags, of at most MOST_TAGGED or this many."""
    return {
        **sent_with(wanted, after, None, MOST_ROWS),
        "most_tagged": MOST_TAGGED if most_tagged is None else most_tagged,
        "is_part_enough": False,
        "seconds": TAGGED_SECONDS,
    }


def end_of(look: Row) -> Position | None:
    """Return where a statement's look ended; None if nothing older is left."""
    return (utc(look["ended_at"]), look["ended_id"]) if look["ended_id"] else None
