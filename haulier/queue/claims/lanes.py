"""Lanes: each combination of queue and priority that has waiting jobs, and when the first of them is due."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from haulier.domain.claim import BEGINNING, Lane, LaneName, Mark, rank
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array

# The limits of one scan, in lanes and in seconds; a hundred thousand lanes take half a second.
MOST_AT_ONCE = 20_000
LOOK_SECONDS = 0.2
# `fresh_lanes` reads at most this many of the newest jobs, and returns at most this many lanes.
NEWEST, MOST_FRESH = 50_000, 2_000


class Stretch(NamedTuple):
    """What one scan found. `end` is the lane after which the next scan continues; None if no lane is left."""

    lanes: list[Lane]
    end: LaneName | None


def lanes(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> list[Lane]:
    """Return the lanes that have waiting jobs, best first: highest priority, then longest due.

    Of more lanes than one scan reads, only the first in the order of the index.
    """
    return best_first(stretch(conn, queues=queues, suspect=suspect).lanes)


class SuspectsAndOperations(NamedTuple):
    """The lanes that have suspects, best first, and in how many seconds an operation is due; None: there is none."""

    lanes: list[Lane]
    operation_in: float | None


def suspects_and_operations(conn: Connection, *, queues: Sequence[str]) -> SuspectsAndOperations:
    """Look at both in one statement."""
    queue, priority = BEGINNING
    sent: dict[str, Any] = {"suspect": True, "after_queue": queue, "after_priority": priority, "limit": MOST_AT_ONCE}
    if queues:
        found = rows(conn, "lanes_of_and_operations", queues=list(queues), **sent)
    else:
        found = rows(conn, "lanes_and_operations", look=LOOK_SECONDS, **sent)
    lanes_ = _lanes_of(row for row in found if row["id"] is not None)
    return SuspectsAndOperations(best_first(lanes_), found[0]["operation_in"])


def stretch(
    conn: Connection,
    *,
    queues: Sequence[str],
    suspect: bool = False,
    after: LaneName = BEGINNING,
    limit: int = MOST_AT_ONCE,
) -> Stretch:
    """Return the lanes behind `after` that have waiting jobs, as many as one scan reads."""
    queue, priority = after
    wanted: dict[str, Any] = {"suspect": suspect, "after_queue": queue, "after_priority": priority, "limit": limit}
    if queues:
        found = rows(conn, "lanes_of", queues=list(queues), **wanted)
    else:
        found = rows(conn, "lanes", look=LOOK_SECONDS, **wanted)
    # If the time limit ended the scan, it found the last row shortly before that limit.
    elapsed = found[-1]["elapsed"] if found else 0.0
    is_cut = len(found) >= limit or elapsed >= 0.8 * LOOK_SECONDS
    return Stretch(_lanes_of(found, elapsed), (found[-1]["queue"], found[-1]["priority"]) if is_cut else None)


def paused(conn: Connection) -> set[str]:
    """Return the queues of which no claim takes a job now."""
    return {row["queue"] for row in rows(conn, "find_paused")}


def heads(conn: Connection, names: Collection[LaneName]) -> list[Lane]:
    """Return those of the named lanes that have waiting jobs."""
    if not names:
        return []
    queues, priorities = array(queue for queue, _ in names), array(priority for _, priority in names)
    return _lanes_of(rows(conn, "heads", queues=queues, priorities=priorities))


def fresh_lanes(conn: Connection, *, seconds: float, soon_seconds: float) -> list[Lane]:
    """Return the lanes of jobs that were enqueued in the last `seconds` and are due now, or within soon_seconds.

    The head is the time of the first of these jobs, with an id before all others: older jobs of the lane are not looked
    for, since that may take long.
    """
    return _lanes_of(rows(conn, "fresh_lanes", lately=seconds, soon=soon_seconds, newest=NEWEST, limit=MOST_FRESH))


def best_first(lanes: Iterable[Lane]) -> list[Lane]:
    """Return the lanes in the order in which a claim reads them."""
    return sorted(lanes, key=lambda lane: rank(lane.head))


def _lanes_of(found: Iterable[Row], elapsed: float = 0.0) -> list[Lane]:
    """Return the lanes, each with the seconds from when the scan has ended, this long after it began."""
    return [
        Lane(Mark(row["queue"], row["priority"], row["run_at"], row["id"]), row["seconds"] - elapsed) for row in found
    ]
