"""Look at jobs: by their ids, and as a list, newest first.

No look is without a bound: where a filter leaves few of many jobs, it ends after some time and says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, utc
from haulier.queue.produce.arrivals import ALWAYS, NEVER, Window, windows
from haulier.queue.produce.job_filter import JobFilter, Position
from haulier.queue.rows import StoredJob, job_of

# A page of a list ends with the job that reaches so many bytes of payloads, errors and results together.
PAGE_BYTES = 8 * 2**20
# After so long no further statement looks on.
LOOK_SECONDS = 0.1
# So many waiting, and so many finished, jobs are looked at by the first statement, and at most by a further one.
FIRST_ROWS, MOST_ROWS = 2_000, 50_000
# A statement reads at most so many times the rows of the one before, and as many as take this share of the time left.
MOST_GROWTH, SHARE = 3, 0.8
# Of tags that no more jobs have than this, all jobs are read by the indexes of tags.
MOST_TAGGED = 1_000
# After so long the look goes on without the indexes of tags: all entries of a tag are read, and there may be millions,
# such as of jobs that ended while somebody holds a snapshot.
TAGGED_SECONDS = 0.5
# So many payloads are read by the first statement that looks into them: each may have 256 KB.
FIRST_PAYLOADS = 200

_LEAST, _MOMENT = UUID(int=0), timedelta(microseconds=1)


class Count(NamedTuple):
    """How many jobs there were at some time.

    Shape: looked_back_to is given where the look ended early: older jobs were not counted.
    """

    jobs: int
    at: datetime
    looked_back_to: datetime | None = None

    @property
    def is_exact(self) -> bool:
        """Tell whether all were counted."""
        return self.looked_back_to is None


class Page(NamedTuple):
    """Some jobs of a list.

    Shape: after is where the next page begins; None on the last. looked_back_to is given where the look ended before
    the page was full: older jobs may match too.
    """

    jobs: list[StoredJob]
    after: Position | None = None
    looked_back_to: datetime | None = None


def get_jobs(conn: Connection, ids: Iterable[object]) -> list[StoredJob]:
    """Return the jobs of these ids that exist, live or finished, in any order."""
    return [job_of(row) for row in rows(conn, "get_jobs", json_as_text=True, ids=array(ids))]


def get(conn: Connection, job_id: UUID) -> StoredJob:
    """Return the job, live or finished. Raises: JobNotFound."""
    found = get_jobs(conn, [job_id])
    if not found:
        raise JobNotFound(job_id)
    return found[0]


def list_jobs(conn: Connection, wanted: JobFilter) -> Page:
    """Return the jobs, newest first (created_at, then id, descending), at most `limit` and PAGE_BYTES of them.

    Where a filter leaves few of many, the look ends with the statement that is under way after LOOK_SECONDS.

    Shape: at least one job where there is one, however large, unless the look ended before it; `offset` skips jobs of
    this look alone, by whichever of its statements they are read.
    """
    page = _PageReader(conn, wanted)
    # Where all jobs are wanted, those of a page are enough, and one that tells that there are more.
    enough = wanted.limit + wanted.offset + 1
    ended = _look_back(page, _first_rows(wanted, enough))
    if ended and not page.is_full:
        return Page(page.jobs, ended, ended[0])
    return Page(page.jobs, page.after)


def count_jobs(conn: Connection, wanted: JobFilter) -> Count:
    """Return how many jobs there are; `limit`, `offset` and `after` do not matter.

    Waiting and running jobs are those that a worker has counted lately, where it has. All others are counted one by
    one, in a look that ends as that of a list does.
    """
    if wanted.is_answered_by_depths:
        for counted in rows(conn, "count_counted", **wanted.conditions):
            return Count(counted["jobs"], utc(counted["at"]))
    counter = _Counter(conn, replace(wanted, after=None))
    ended = _look_back(counter, _first_rows(wanted, FIRST_ROWS))
    return Count(counter.jobs, counter.at, ended[0] if ended else None)


def _first_rows(wanted: JobFilter, enough: int) -> int:
    if wanted.payload:
        return FIRST_PAYLOADS
    return max(enough, FIRST_ROWS) if wanted.is_selective else enough


class _Reader(Protocol):
    """Reads some of the wanted jobs by one statement."""

    conn: Connection
    wanted: JobFilter

    @property
    def is_full(self) -> bool:
        """Tell whether no further jobs are wanted."""

    def read(self, after: Position | None, created_after: datetime | None, most_rows: int) -> Position | None:
        """Read the jobs after a position, and return where the look ended; None where nothing older is left."""

    def read_tagged(self, after: Position) -> bool:
        """Read all jobs after a position by the indexes of their tags; return False where these do not help."""


def _look_back(reader: _Reader, first_rows: int) -> Position | None:
    """Read from the newest job on, and return where that ended; None where nothing older is left, or wanted."""
    pace = _Pace(first_rows)
    ended = reader.read(reader.wanted.after, reader.wanted.created_after, first_rows)
    if ended is None or (not reader.is_full and _reads_tagged(reader, ended, pace)):
        return None
    for window in _windows(reader, ended):
        ended = min(ended or (NEVER, _LEAST), (window.ends_at, _LEAST))
        while ended and not reader.is_full:
            most_rows = pace.next()
            if most_rows is None:
                return ended
            ended = reader.read(ended, window.begins_at - _MOMENT, most_rows)
    return None


def _reads_tagged(reader: _Reader, ended: Position, pace: _Pace) -> bool:
    """Read all jobs after a position by the indexes of the tags that are asked for, and return whether these helped."""
    if reader.wanted.tags is None:
        return False
    with pace.paused():
        try:
            return reader.read_tagged(ended)
        except sqlstate.QueryCanceled:
            return False


class _Pace:
    """Tells how many rows each statement of a look may read, so that the last ends in time."""

    def __init__(self, rows_: int) -> None:
        self._rows = rows_
        self._began_at = self._at = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of the time that the look takes."""
        at = time.monotonic()
        yield
        took = time.monotonic() - at
        self._began_at, self._at = self._began_at + took, self._at + took

    def next(self) -> int | None:
        """Return how many rows the next statement may read, as far as the one before tells; None for no further one."""
        now = time.monotonic()
        left, took = self._began_at + LOOK_SECONDS - now, now - self._at
        if left <= LOOK_SECONDS / 10:
            return None
        # Rows with large payloads take long, and so do pages that nobody has read for long, which the statement before
        # does not tell. So each reads a few times as many rows, and not all that seem to fit.
        fit = int(self._rows * min(SHARE * left / max(took, 1e-6), MOST_GROWTH))
        self._rows, self._at = max(1, min(fit, MOST_ROWS)), now
        return self._rows


def _windows(reader: _Reader, ended: Position) -> Iterator[Window]:
    """Yield where to look on after the first statement, the newest first."""
    wanted, before = reader.wanted, ended[0] + _MOMENT
    if wanted.kinds is not None or wanted.queues is not None:
        found = windows(reader.conn, kinds=wanted.kinds, queues=wanted.queues, before=before)
    else:
        found = iter([Window(ALWAYS, before)])
    while not reader.is_full and (window := next(found, None)):
        if wanted.created_after and window.ends_at <= wanted.created_after:
            return
        yield window


def _sent(wanted: JobFilter, after: Position | None, created_after: datetime | None, most_rows: int) -> dict[str, Any]:
    """Return what each statement that looks is sent with."""
    return {
        **wanted.conditions,
        **wanted.times,
        "created_after": max(filter(None, (created_after, wanted.created_after)), default=None),
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "least_id": _LEAST,
        "most_rows": most_rows,
    }


def _sent_for_tags(wanted: JobFilter, after: Position) -> dict[str, Any]:
    """Return what each statement is sent with that reads all jobs of some tags."""
    return {
        **_sent(wanted, after, None, MOST_ROWS),
        "most_tagged": MOST_TAGGED,
        "seconds": TAGGED_SECONDS,
    }


def _end_of(look: Row) -> Position | None:
    return (utc(look["ended_at"]), look["ended_id"]) if look["ended_id"] else None


@dataclass(eq=False)
class _PageReader:
    """Reads the jobs of a page. Shape: after is where the next page begins, if this one is full."""

    conn: Connection
    wanted: JobFilter
    jobs: list[StoredJob] = field(init=False, default_factory=list)
    after: Position | None = field(init=False, default=None)
    _bytes_left: int = field(init=False, default=PAGE_BYTES)
    _offset: int = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.wanted.offset

    @property
    def is_full(self) -> bool:
        """Tell whether further jobs belong to the next page."""
        return self.after is not None

    def read(self, after: Position | None, created_after: datetime | None, most_rows: int) -> Position | None:
        """Add the jobs after a position, as far as they fit, and return where the look ended."""
        sent = {**_sent(self.wanted, after, created_after, most_rows), **self._room}
        found = rows(self.conn, "list_jobs", json_as_text=True, **sent)
        self._take(found)
        return _end_of(found[0])

    def read_tagged(self, after: Position) -> bool:
        """Add all jobs after a position, as far as they fit; return False where the tags are too common."""
        sent = {**_sent_for_tags(self.wanted, after), **self._room}
        found = rows(self.conn, "list_tagged", json_as_text=True, **sent)
        if found[0]["is_common"]:
            return False
        self._take(found)
        return True

    @property
    def _room(self) -> dict[str, int]:
        return {
            # One more than asked for tells whether there are more.
            "limit": self.wanted.limit - len(self.jobs) + 1,
            "offset": self._offset,
            "most_bytes": self._bytes_left,
        }

    def _take(self, read: Sequence[Row]) -> None:
        self._offset -= read[0]["passed_over"]
        found, matched = [row for row in read if row["id"] is not None], read[0]["matched"]
        self.jobs += [job_of(row) for row in found]
        for row in found:
            self._bytes_left -= len(row["payload"]) + len(row["errors"]) + len(row["result"] or b"")
        if matched > len(found):
            last = self.jobs[-1]
            self.after = (last.created_at, last.id)


@dataclass(eq=False)
class _Counter:
    """Counts jobs. Shape: at is when the last statement did."""

    conn: Connection
    wanted: JobFilter
    jobs: int = field(init=False, default=0)
    at: datetime = field(init=False, default=ALWAYS)
    is_full: bool = field(init=False, default=False)

    def read(self, after: Position | None, created_after: datetime | None, most_rows: int) -> Position | None:
        """Count the jobs after a position, and return where the look ended."""
        [look] = rows(self.conn, "count_jobs", **_sent(self.wanted, after, created_after, most_rows))
        self.jobs += look["jobs"]
        self.at = utc(look["at"])
        return _end_of(look)

    def read_tagged(self, after: Position) -> bool:
        """Count all jobs after a position; return False where the tags are too common."""
        [look] = rows(self.conn, "count_tagged", **_sent_for_tags(self.wanted, after))
        self.jobs += look["jobs"]
        self.at = utc(look["at"])
        return not look["is_common"]
