"""The lanes: the queues and priorities that have jobs which wait, and when the first of each is due."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from haulier.queue.connection import Connection, Row, array, rows

# One look reads so many lanes at most, and for so long; a hundred thousand take half a second.
MOST_AT_ONCE = 20_000
LOOK_SECONDS = 0.2
# Of the jobs that came lately so many are read, and of those that are due soon so many lanes are told.
NEWEST, MOST_FRESH = 50_000, 2_000


class Mark(NamedTuple):
    """A place in a lane, from where on to read it: before this place no job is expected to wait."""

    queue: str
    priority: int
    run_at: datetime
    id: UUID

    @property
    def lane(self) -> LaneName:
        """Return the lane that it is in."""
        return (self.queue, self.priority)


def rank(mark: Mark) -> tuple[int, datetime]:
    """Return by what marks are sorted, the best lane first: highest priority, then longest due."""
    return (-mark.priority, mark.run_at)


# Queue and priority.
LaneName = tuple[str, int]
# Before the first lane: no queue has this name.
BEGINNING: LaneName = ("", 0)


@dataclass(frozen=True, slots=True)
class Lane:
    """The waiting jobs of one queue and priority; `head` is the place of the first.

    Units: seconds until the first is due; negative when it is.
    """

    head: Mark
    seconds: float


class Stretch(NamedTuple):
    """What one look found. Shape: end is the lane behind which to go on; None where there was no further one."""

    lanes: list[Lane]
    end: LaneName | None


def lanes(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> list[Lane]:
    """Return the lanes that have waiting jobs, best first: highest priority, then longest due.

    Of more than one look reads, the first in the order of the index.
    """
    return best_first(stretch(conn, queues=queues, suspect=suspect).lanes)


def stretch(
    conn: Connection,
    *,
    queues: Sequence[str],
    suspect: bool = False,
    after: LaneName = BEGINNING,
    limit: int = MOST_AT_ONCE,
) -> Stretch:
    """Return the lanes behind this one that have waiting jobs, as many as one look reads."""
    queue, priority = after
    wanted: dict[str, Any] = {"suspect": suspect, "after_queue": queue, "after_priority": priority, "limit": limit}
    if queues:
        found = rows(conn, "lanes_of", queues=list(queues), **wanted)
    else:
        found = rows(conn, "lanes", look=LOOK_SECONDS, **wanted)
    # Where it was the time that ended the look, the last row came just before.
    is_cut = len(found) >= limit or (bool(found) and found[-1]["elapsed"] >= 0.8 * LOOK_SECONDS)
    return Stretch(_lanes_of(found), (found[-1]["queue"], found[-1]["priority"]) if is_cut else None)


def heads(conn: Connection, names: Collection[LaneName]) -> list[Lane]:
    """Return those of these lanes that have waiting jobs."""
    if not names:
        return []
    queues, priorities = array(queue for queue, _ in names), array(priority for _, priority in names)
    return _lanes_of(rows(conn, "heads", queues=queues, priorities=priorities))


def fresh_lanes(conn: Connection, *, seconds: float, soon_seconds: float) -> list[LaneName]:
    """Return the lanes of the jobs that came within the last `seconds` and are due, or will be within soon_seconds."""
    found = rows(conn, "fresh_lanes", lately=seconds, soon=soon_seconds, newest=NEWEST, limit=MOST_FRESH)
    return [(row["queue"], row["priority"]) for row in found]


def best_first(lanes: Iterable[Lane]) -> list[Lane]:
    """Return the lanes in the order in which they are claimed from."""
    return sorted(lanes, key=lambda lane: rank(lane.head))


def _lanes_of(found: Iterable[Row]) -> list[Lane]:
    return [Lane(Mark(row["queue"], row["priority"], row["run_at"], row["id"]), row["seconds"]) for row in found]
