"""Look at jobs: by their ids, and as a list, newest first.

No look is without a bound: where a filter leaves few of many jobs, it ends after some time and says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.domain.job import JobStatus
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, utc
from haulier.queue.produce.arrivals import ALWAYS, NEVER, Window, windows
from haulier.queue.rows import StoredJob, job_of

# A page of a list ends with the job that reaches so many bytes of payloads, errors and results together.
PAGE_BYTES = 8 * 2**20
# After so long no further statement looks on.
LOOK_SECONDS = 0.1
# So many waiting, and so many finished, jobs are looked at by the first statement, and at most by a further one.
FIRST_ROWS, MOST_ROWS = 2_000, 50_000

# What jobs are that have not ended.
LIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING)

Position = tuple[datetime, UUID]

_LEAST, _MOMENT = UUID(int=0), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; `after` is the (created_at, id) of the last one already seen.

    Shape: queues are those that the caller may see; None: every queue.
    """

    status: JobStatus | None = None
    kind: str | None = None
    queue: str | None = None
    queues: Sequence[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    after: Position | None = None
    limit: int = 50
    offset: int = 0

    @property
    def is_selective(self) -> bool:
        """Tell whether jobs have to be looked at to know which are wanted."""
        return bool(self.status or self.kind or self.queue) or self.queues is not None

    @property
    def is_answered_by_depths(self) -> bool:
        """Tell whether the count of the live jobs by queue, kind and status says how many there are."""
        return self.status in LIVE and self.created_after is None and self.created_before is None


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
    this look alone.
    """
    page = _PageReader(conn, wanted)
    # Where all jobs are wanted, those of a page are enough, and one that tells that there are more.
    enough = wanted.limit + wanted.offset + 1
    ended = _look_back(page, max(enough, FIRST_ROWS) if wanted.is_selective else enough)
    if ended and not page.is_full:
        return Page(page.jobs, ended, ended[0])
    return Page(page.jobs, page.after)


def count_jobs(conn: Connection, wanted: JobFilter) -> Count:
    """Return how many jobs there are; `limit`, `offset` and `after` do not matter.

    Waiting and running jobs are those that a worker has counted lately, where it has. All others are counted one by
    one, in a look that ends as that of a list does.
    """
    if wanted.is_answered_by_depths:
        for counted in rows(conn, "count_counted", **_conditions(wanted)):
            return Count(counted["jobs"], utc(counted["at"]))
    counter = _Counter(conn, replace(wanted, after=None))
    ended = _look_back(counter, FIRST_ROWS)
    return Count(counter.jobs, counter.at, ended[0] if ended else None)


def _conditions(wanted: JobFilter) -> dict[str, Any]:
    return {
        "status": wanted.status,
        "kind": wanted.kind,
        "queue": wanted.queue,
        "queues": None if wanted.queues is None else list(wanted.queues),
    }


class _Reader(Protocol):
    """Reads some of the wanted jobs by one statement."""

    conn: Connection
    wanted: JobFilter

    @property
    def is_full(self) -> bool:
        """Tell whether no further jobs are wanted."""

    def read(self, after: Position | None, created_after: datetime | None, most_rows: int) -> Position | None:
        """Read the jobs after a position, and return where the look ended; None where nothing older is left."""


def _look_back(reader: _Reader, first_rows: int) -> Position | None:
    """Read from the newest job on, and return where that ended; None where nothing older is left, or wanted."""
    began_at = time.monotonic()
    ended = reader.read(reader.wanted.after, reader.wanted.created_after, first_rows)
    if ended is None:
        return None
    for window in _windows(reader, ended):
        ended = min(ended or (NEVER, _LEAST), (window.ends_at, _LEAST))
        most_rows = FIRST_ROWS
        while ended and not reader.is_full:
            if time.monotonic() - began_at >= LOOK_SECONDS:
                return ended
            most_rows = min(8 * most_rows, MOST_ROWS)
            ended = reader.read(ended, window.begins_at - _MOMENT, most_rows)
    return None


def _windows(reader: _Reader, ended: Position) -> Iterator[Window]:
    """Yield where to look on after the first statement, the newest first."""
    wanted, before = reader.wanted, ended[0] + _MOMENT
    if wanted.kind or wanted.queue or wanted.queues is not None:
        found = windows(reader.conn, kind=wanted.kind, queue=wanted.queue, queues=wanted.queues, before=before)
    else:
        found = iter([Window(ALWAYS, before)])
    while not reader.is_full and (window := next(found, None)):
        if wanted.created_after and window.ends_at <= wanted.created_after:
            return
        yield window


def _sent(wanted: JobFilter, after: Position | None, created_after: datetime | None, most_rows: int) -> dict[str, Any]:
    """Return what each statement that looks is sent with."""
    return {
        **_conditions(wanted),
        "created_after": max(filter(None, (created_after, wanted.created_after)), default=None),
        "created_before": wanted.created_before,
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "least_id": _LEAST,
        "most_rows": most_rows,
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
        found = rows(
            self.conn,
            "list_jobs",
            json_as_text=True,
            **_sent(self.wanted, after, created_after, most_rows),
            # One more than asked for tells whether there are more.
            limit=self.wanted.limit - len(self.jobs) + 1,
            offset=self._offset,
            most_bytes=self._bytes_left,
        )
        self._offset = 0
        self._take([row for row in found if row["id"] is not None], matched=found[0]["matched"])
        return _end_of(found[0])

    def _take(self, found: Sequence[Row], *, matched: int) -> None:
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
