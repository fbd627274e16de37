"""Look at jobs: by their ids, as a list, newest first, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.domain.job import LIVE_STATUSES, JobStatus
from haulier.postgres.prepared import Prepared
from haulier.postgres.statements import Connection, Row, is_outside_transactions, rows
from haulier.postgres.values import array, utc
from haulier.queue.rows import StoredJob, job_of
from haulier.queue.search.arrivals import ALWAYS
from haulier.queue.search.bounded_scan import FIRST_ROWS, end_of, first_rows, look_back, sent_for_tags, sent_with
from haulier.queue.search.job_filter import JobFilter, Position

# A page of a list ends with the job that reaches this many bytes of payloads, errors and results together.
PAGE_BYTES = 8 * 2**20

# Planned each time, a look at one job takes four times as long: it is looked for in each partition of the history.
prepared = Prepared(("get_jobs",))


class Count(NamedTuple):
    """How many jobs there were at some time.

    `looked_back_to` is given if the look ended early: older jobs were not counted.
    """

    jobs: int
    at: datetime
    looked_back_to: datetime | None = None

    @property
    def is_exact(self) -> bool:
        """Return whether all were counted."""
        return self.looked_back_to is None


class Page(NamedTuple):
    """Some jobs of a list.

    `after` is where the next page begins; None on the last. `looked_back_to` is given if the look ended before the
    page was full: older jobs may match too.
    """

    jobs: list[StoredJob]
    after: Position | None = None
    looked_back_to: datetime | None = None


def get_jobs(conn: Connection, ids: Iterable[object]) -> list[StoredJob]:
    """Return the jobs of these ids that exist, live or finished, in any order."""
    wanted = array(ids)
    # The settings of `one_plan_by_index` would outlast this in a transaction of the caller.
    if is_outside_transactions(conn):
        found = prepared.rows(conn, ("one_plan_by_index", "get_jobs"), ids=wanted)
    else:
        found = rows(conn, "get_jobs", json_as_text=True, ids=wanted)
    return [job_of(row) for row in found]


def get(conn: Connection, job_id: UUID) -> StoredJob:
    """Return the job, live or finished. Raises: JobNotFound."""
    found = get_jobs(conn, [job_id])
    if not found:
        raise JobNotFound(job_id)
    return found[0]


def visible(conn: Connection, job_id: UUID, queues: Sequence[str] | None) -> StoredJob:
    """Return the job, if it is in one of these queues; None: any. Raises: JobNotFound."""
    job = get(conn, job_id)
    if queues is not None and job.queue not in queues:
        raise JobNotFound(job_id)
    return job


def list_jobs(conn: Connection, wanted: JobFilter, most_tagged: int | None = None) -> Page:
    """Return the jobs, newest first (created_at, then id, descending), at most `limit` and PAGE_BYTES of them.

    If a filter leaves few of many, the look ends with the statement that is under way after LOOK_SECONDS. Jobs of
    tags that no more than MOST_TAGGED jobs have, or most_tagged, are found by the indexes of tags.

    At least one job if there is one, however large, unless the look ended before it; `offset` skips only jobs of this
    look, by whichever of its statements they are read.
    """
    page = _PageReader(conn, wanted, most_tagged)
    # If all jobs are wanted, those of a page are enough, and one that says that there are more.
    enough = wanted.limit + wanted.offset + 1
    ended = look_back(page, first_rows(wanted, enough))
    if ended and not page.is_full:
        return Page(page.jobs, ended, ended[0])
    return Page(page.jobs, page.after)


def count_jobs(conn: Connection, wanted: JobFilter) -> Count:
    """Return how many jobs there are; `limit`, `offset` and `after` do not matter.

    Waiting and running jobs are those that a worker has counted recently, if it has. All others are counted one by
    one, in a look that ends like the look of a list; then there are at least as many as live.
    """
    if wanted.is_answered_by_depths and (counted := count_by_depths(conn, wanted)):
        return counted
    counter = _Counter(conn, replace(wanted, after=None))
    ended = look_back(counter, first_rows(wanted))
    live = count_by_depths(conn, wanted) if ended and wanted.is_by_depth else None
    return Count(max(counter.jobs, live.jobs if live else 0), counter.at, ended[0] if ended else None)


def count_by_depths(conn: Connection, wanted: JobFilter) -> Count | None:
    """Return how many of the live jobs there were when a worker last counted them; None if none has, recently."""
    found = rows(conn, "count_counted", **wanted.conditions)
    return Count(sum(row["jobs"] for row in found), utc(found[0]["at"])) if found else None


def live_by_status(conn: Connection, wanted: JobFilter) -> dict[JobStatus, int] | None:
    """Return how many live jobs of these kinds and queues have each status; else as `count_by_depths`."""
    found = rows(conn, "count_counted", **JobFilter(kinds=wanted.kinds, queues=wanted.queues).conditions)
    jobs = {row["status"]: row["jobs"] for row in found}
    return {status: jobs.get(status, 0) for status in LIVE_STATUSES} if found else None


def ended_badly(conn: Connection, wanted: JobFilter) -> tuple[dict[JobStatus, int], bool]:
    """Return how many jobs of these kinds and queues have failed or were cancelled, and whether that is all of them.

    Otherwise it is how many of the newest.
    """
    of_any = JobFilter(kinds=wanted.kinds, queues=wanted.queues).conditions
    [found] = rows(conn, "newest_ended_badly", **of_any, most_rows=FIRST_ROWS)
    return {status: found[status] for status in (JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED)}, found["is_all"]


@dataclass(eq=False)
class _PageReader:
    """Reads the jobs of a page. `after` is where the next page begins, if this one is full."""

    conn: Connection
    wanted: JobFilter
    most_tagged: int | None
    jobs: list[StoredJob] = field(init=False, default_factory=list)
    after: Position | None = field(init=False, default=None)
    _bytes_left: int = field(init=False, default=PAGE_BYTES)
    _offset: int = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.wanted.offset

    @property
    def is_full(self) -> bool:
        """Return whether further jobs belong to the next page."""
        return self.after is not None

    def read(
        self, after: Position | None, created_after: datetime | None, most_rows: int, seconds: float
    ) -> Position | None:
        """Add the jobs after a position, as far as they fit, and return where the look ended."""
        sent = {**sent_with(self.wanted, after, created_after, most_rows), **self._room}
        found = rows(self.conn, "list_jobs", seconds=seconds, json_as_text=True, **sent)
        self._take(found)
        return end_of(found[0])

    def read_tagged(self, after: Position) -> bool:
        """Add all jobs after a position, as far as they fit; return False if the tags are too common."""
        sent = {**sent_for_tags(self.wanted, after, self.most_tagged), **self._room}
        found = rows(self.conn, "list_tagged", json_as_text=True, **sent)
        if found[0]["is_common"]:
            return False
        self._take(found)
        return True

    @property
    def _room(self) -> dict[str, int]:
        return {
            # One more than asked for says whether there are more.
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
    """Counts jobs. `at` is when the last statement counted."""

    conn: Connection
    wanted: JobFilter
    jobs: int = field(init=False, default=0)
    at: datetime = field(init=False, default=ALWAYS)
    is_full: bool = field(init=False, default=False)

    def read(
        self, after: Position | None, created_after: datetime | None, most_rows: int, seconds: float
    ) -> Position | None:
        """Count the jobs after a position, and return where the look ended."""
        sent = sent_with(self.wanted, after, created_after, most_rows)
        [look] = rows(self.conn, "count_jobs", seconds=seconds, **sent)
        self.jobs += look["jobs"]
        self.at = utc(look["at"])
        return end_of(look)

    def read_tagged(self, after: Position) -> bool:
        """Count all jobs after a position; return False if the tags are too common."""
        [look] = rows(self.conn, "count_tagged", **sent_for_tags(self.wanted, after))
        self.jobs += look["jobs"]
        self.at = utc(look["at"])
        return not look["is_common"]
