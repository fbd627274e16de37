"""Find the jobs that a filter means, by their ids; count them by kind. In the looks of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from haulier.postgres.statements import Connection, Row, is_outside_transactions, rows, rows_at_once
from haulier.postgres.values import utc
from haulier.queue.search.bounded_scan import end_of, first_rows, look_back, sent_for_tags, sent_with
from haulier.queue.search.job_filter import JobFilter, Position

# The first statement of a look reads no more jobs than are wanted, or this many: if an operation continues, most of the
# next ones are usually wanted, and to read thousands for a hundred takes longer than to act on these.
FEWEST_ROWS = 200


class FoundJob(NamedTuple):
    """A job that a filter means. `finished_at` is None for a live one."""

    id: UUID
    created_at: datetime
    finished_at: datetime | None


class Found(NamedTuple):
    """Some of the jobs that a filter means, newest first.

    `after` is where the next look continues; None if nothing older is left.
    """

    jobs: Sequence[FoundJob]
    after: Position | None


class CountByKind(NamedTuple):
    """How many jobs of each kind there are. `is_whole` says whether all were counted."""

    jobs: Counter[str]
    is_whole: bool


def find_jobs(conn: Connection, wanted: JobFilter, *, most_bytes: int) -> Found:
    """Return the next jobs, at most `limit`, and so many that their payloads together are not much over most_bytes.

    It may be none, if the look ended before it found any.
    """
    finder, enough = _Finder(conn, wanted, most_bytes), wanted.limit + 1
    ended = look_back(finder, min(first_rows(wanted, enough), max(enough, FEWEST_ROWS)))
    return Found(finder.jobs, finder.after or ended)


def count_by_kind(
    conn: Connection, wanted: JobFilter, *, seconds: float, most_tagged: int | None = None
) -> CountByKind:
    """Return how many jobs there are, in a look that begins no statement after this many seconds.

    Jobs of tags that no more than most_tagged jobs have are counted by the indexes of tags; of more common tags at
    least as many of these as match.
    """
    counter = _Counter(conn, replace(wanted, after=None), most_tagged)
    ended = look_back(counter, first_rows(wanted), seconds)
    return CountByKind(max(counter.jobs, counter.least, key=Counter.total), ended is None)


@dataclass(eq=False)
class _Finder:
    """Finds jobs. `after` is the position of the last one, if there are no more wanted."""

    conn: Connection
    wanted: JobFilter
    bytes_left: int
    jobs: list[FoundJob] = field(init=False, default_factory=list)
    after: Position | None = field(init=False, default=None)

    @property
    def is_full(self) -> bool:
        """Return whether no further jobs are wanted."""
        return self.after is not None

    def read(
        self, after: Position | None, created_after: datetime | None, most_rows: int, seconds: float
    ) -> Position | None:
        """Find the jobs after a position, and return where the look ended."""
        sent = sent_with(self.wanted, after, created_after, most_rows)
        # The settings of `find_by_index` would outlast this in a transaction of the caller.
        if self.wanted.is_live and is_outside_transactions(self.conn):
            asked = ("find_by_index", "find_jobs")
            found = rows_at_once(self.conn, asked, prepared={}, seconds=seconds, **sent, **self._room)
        else:
            found = rows(self.conn, "find_jobs", seconds=seconds, **sent, **self._room)
        self._take(found)
        return end_of(found[0])

    def read_tagged(self, after: Position) -> bool:
        """Find all jobs after a position; return False if the tags are too common."""
        found = rows(self.conn, "find_tagged", **sent_for_tags(self.wanted, after), **self._room)
        if found[0]["is_common"]:
            return False
        self._take(found)
        return True

    @property
    def _room(self) -> dict[str, Any]:
        return {"limit": self.wanted.limit - len(self.jobs), "most_bytes": self.bytes_left}

    def _take(self, read: Sequence[Row]) -> None:
        found = [row for row in read if row["id"] is not None]
        for row in found:
            ended_at = row["finished_at"]
            self.jobs.append(FoundJob(row["id"], utc(row["created_at"]), ended_at and utc(ended_at)))
            self.bytes_left -= row["bytes"]
        has_room = len(self.jobs) < self.wanted.limit and self.bytes_left > 0
        if self.jobs and (read[0]["matched"] > len(found) or not has_room):
            self.after = (self.jobs[-1].created_at, self.jobs[-1].id)


@dataclass(eq=False)
class _Counter:
    """Counts jobs by kind. `least` is what there are at least, by the indexes of tags."""

    conn: Connection
    wanted: JobFilter
    most_tagged: int | None
    jobs: Counter[str] = field(init=False, default_factory=Counter)
    least: Counter[str] = field(init=False, default_factory=Counter)
    is_full: bool = field(init=False, default=False)

    def read(
        self, after: Position | None, created_after: datetime | None, most_rows: int, seconds: float
    ) -> Position | None:
        """Count the jobs after a position, and return where the look ended."""
        sent = sent_with(self.wanted, after, created_after, most_rows)
        found = rows(self.conn, "count_by_kind", seconds=seconds, **sent)
        self._take(found)
        return end_of(found[0])

    def read_tagged(self, after: Position) -> bool:
        """Count all jobs after a position; return False if the tags are too common."""
        sent = {**sent_for_tags(self.wanted, after, self.most_tagged), "is_part_enough": True}
        found = rows(self.conn, "count_tagged_by_kind", **sent)
        if found[0]["is_common"]:
            # The look continues from where it was, and may come to the same jobs.
            self.least = self.jobs + _by_kind(found)
            return False
        self._take(found)
        return True

    def _take(self, read: Sequence[Row]) -> None:
        self.jobs.update(_by_kind(read))


def _by_kind(read: Sequence[Row]) -> Counter[str]:
    return Counter({row["kind"]: row["jobs"] for row in read if row["kind"] is not None})
