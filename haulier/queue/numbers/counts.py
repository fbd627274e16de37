"""The numbers: how many jobs came and ended, by time, queue and kind. A worker process counts them.

Rows are of 10 s at first, and are summed into longer steps as they grow older, so that a span of any length has few of
them. `count` is called every 10 s; the other functions of a turn use what it returns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import Refusal, reason
from haulier.postgres.errors import sqlstate, translated
from haulier.postgres.halves import by_halves, is_slow
from haulier.postgres.statements import STATEMENT_SECONDS, Connection, Row, rows, savepoint, transaction
from haulier.postgres.values import array
from haulier.queue.upkeep.purge import purge_numbers

log = logging.getLogger(__name__)

# How often there is something new to count.
SLICE_SECONDS = 10
# For this long a process that counts is not relieved by another.
LEASE_SECONDS = 30.0
# A span ends this long before now: a settle has a deadline of 5 s.
LATE_SECONDS = 5.0
# What ended so shortly before the span is counted again, for transactions that took longer than that.
AGAIN_SECONDS = 10.0
# At most this much is counted by one statement, and less after one that took too long.
MOST_SECONDS = 3600
# This many pairs of queue and kind have rows of their own in a step; one more row has the sum of all others.
MOST_PAIRS = 500
# Counting all live jobs may take this long. It is done for a hundredth of the time: the pauses are this many times
# longer.
LIVE_SECONDS, LIVE_PAUSE = 10.0, 100

MINUTE, FIVE_MINUTES, QUARTER, HOUR, SIX_HOURS = 60, 300, 900, 3600, 21_600
# For how long rows of each step are kept before they are summed into the next.
_SLICES_KEPT = timedelta(minutes=1)
_MINUTES_KEPT = timedelta(minutes=70)
_FIVES_KEPT = timedelta(hours=7)
_QUARTERS_KEPT = timedelta(hours=26)
_HOURS_KEPT = timedelta(days=8)
# A minute is counted again when it is so old: a transaction may have been open for that long.
_RECOUNTED_AFTER = timedelta(hours=1)
# This much is counted again by one statement.
_RECOUNTED_AT_ONCE = timedelta(minutes=5)
_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one call of `count` has found.

    `is_behind` is true if there is more to count at once, is_live_wanted that `count_live` is due.
    Units: next_in is in how many seconds there is more to count.
    """

    through: datetime
    is_behind: bool
    is_live_wanted: bool
    next_in: float


class Late(NamedTuple):
    """What was found only by counting again: jobs whose transactions committed long after they had begun."""

    arrived: int
    ended: int


class _Reach(NamedTuple):
    """How far the numbers reach: those that were counted again, those in steps of a minute and longer, and all."""

    recounted: datetime
    folded: datetime
    through: datetime


def count(conn: Connection, *, counter: UUID, most_seconds: int = MOST_SECONDS) -> Counted | None:
    """Count what came and ended since the last call of any process; None if another process is to do so."""
    with transaction(conn):
        found = rows(
            conn,
            "take_counting",
            counter=counter,
            lease=LEASE_SECONDS,
            late=LATE_SECONDS,
            again=AGAIN_SECONDS,
            most_seconds=most_seconds,
            live_pause=LIVE_PAUSE,
        )
        if not found:
            return None
        [taken] = found
        if taken["count_to"] > taken["through"]:
            _count_taken(conn, taken)
    return Counted(
        max(taken["through"], taken["count_to"]), taken["is_behind"], taken["is_live_wanted"], taken["next_in"]
    )


def _count_taken(conn: Connection, taken: Row) -> None:
    reach = _reach(taken)
    count_from, count_to, is_behind = taken["count_from"], taken["count_to"], taken["is_behind"]
    if is_behind:
        # The minute in which counting had stopped is counted whole.
        _fold(conn, SLICE_SECONDS, MINUTE, before=count_to)
    _count_span(conn, taken["step"], count_from, count_to, only_whole=is_behind)
    if is_behind:
        # What is counted so late needs no second look.
        is_done = taken["is_old"] and reach.recounted >= count_from
        reach = _Reach(count_to if is_done else reach.recounted, count_to, count_to)
    _advance(conn, reach._replace(through=count_to))


def _count_span(conn: Connection, step: int, count_from: datetime, count_to: datetime, *, only_whole: bool) -> Late:
    rows(conn, "count_by_index")
    span = {"step_seconds": step, "count_from": count_from, "count_to": count_to}
    late = write_pairs(
        conn, "count_span", "pairs_of_span", {**span, "most_pairs": MOST_PAIRS, "only_whole": only_whole}
    )
    return Late(sum(each["arrived"] for each in late), sum(each["ended"] for each in late))


def write_pairs(conn: Connection, name: str, find_pairs: str, parameters: Row) -> list[Row]:
    """Run a statement that writes rows for pairs of queue and kind; if the database refuses some, for all others."""

    def write(pairs: str | None) -> list[Row]:
        with savepoint(conn, seconds=LIVE_SECONDS):
            return rows(conn, name, seconds=LIVE_SECONDS, json_as_text=False, **parameters, pairs=pairs)

    began_at = time.monotonic()
    try:
        with translated():
            return write(None)
    except Refusal as refused:
        if is_slow(refused, began_at):
            raise
        log.warning(
            "the database refuses %s for some queues, which are left out of the numbers: %s", name, reason(refused)
        )
    pairs = [
        row["pair"]
        for row in rows(conn, find_pairs, seconds=LIVE_SECONDS, json_as_text=False, **parameters, pairs=None)
    ]
    became = by_halves(pairs, lambda some: [write(array(some)), *[[]] * (len(some) - 1)])
    return [row for each in became if not isinstance(each, Refusal) for row in each]


def counting_ends_in(conn: Connection) -> float:
    """Return for how many seconds the process that counts keeps its turn; if none ever counted, begin."""
    found = rows(conn, "counting_ends_in")
    if not found:
        rows(conn, "begin_counting")
        return 0.0
    return float(found[0]["seconds"] or 0.0)


def leave(conn: Connection, *, counter: UUID) -> None:
    """Let another process count at once."""
    rows(conn, "leave_counting", counter=counter)


def fold(conn: Connection, *, retention_days: int) -> None:
    """Sum old rows into longer steps, and forget the oldest; to be called once a minute."""
    with alone(conn) as reaches:
        for reach in reaches:
            minute = _floor(reach.through - _SLICES_KEPT, MINUTE)
            if minute > reach.folded:
                _fold(conn, SLICE_SECONDS, MINUTE, before=minute)
                _advance(conn, reach._replace(folded=minute))
            old = min(reach.recounted, reach.through - _MINUTES_KEPT)
            _fold(conn, MINUTE, FIVE_MINUTES, before=old)
            _fold(conn, FIVE_MINUTES, QUARTER, before=min(old, reach.through - _FIVES_KEPT))
            _fold(conn, QUARTER, HOUR, before=min(old, reach.through - _QUARTERS_KEPT))
            _fold(conn, HOUR, SIX_HOURS, before=min(old, reach.through - _HOURS_KEPT))
    purge_numbers(conn, retention_days=retention_days)


def _fold(conn: Connection, step: int, longer: int, *, before: datetime) -> None:
    parameters = {"step_seconds": step, "longer_seconds": longer, "upto": _floor(before, longer)}
    write_pairs(conn, "fold_rollups", "pairs_of_rollups", parameters)


def summarize(conn: Connection, *, seconds: float = STATEMENT_SECONDS) -> bool:
    """Let the index of what ended know the newest pages, and return whether it knows all."""
    try:
        rows(conn, "summarize_history", seconds=seconds)
    except sqlstate.QueryCanceled:
        # The pages that it has come to stay known: after an INSERT of millions the next calls continue from there.
        return False
    return True


def recount_next(conn: Connection) -> Late:
    """Count again, an hour later, what came and ended in the next five minutes at most."""
    with alone(conn) as reaches:
        for reach in reaches:
            upto = min(reach.recounted + _RECOUNTED_AT_ONCE, reach.folded)
            if upto > reach.recounted and upto <= reach.through - _RECOUNTED_AFTER:
                late = _count_span(conn, MINUTE, reach.recounted, upto, only_whole=True)
                _advance(conn, reach._replace(recounted=upto))
                return late
    return Late(0, 0)


def recount(conn: Connection) -> Late | None:
    """Count the last 24 hours again; None if nothing was ever counted."""
    arrived = ended = 0
    with alone(conn) as reaches:
        pass
    if not reaches:
        return None
    began_at = _floor(reaches[0].through - _DAY, HOUR)
    while began_at < reaches[0].folded:
        began_at, late = _recount_some(conn, began_at, reaches[0].folded)
        arrived, ended = arrived + late.arrived, ended + late.ended
    return Late(arrived, ended)


def _recount_some(conn: Connection, began_at: datetime, upto: datetime) -> tuple[datetime, Late]:
    """Count some minutes again, and return their end. Nobody sums rows into longer steps meanwhile."""
    with alone(conn):
        [begin] = rows(conn, "steps_begin")
        step, end = QUARTER, begin["fives"]
        if began_at >= begin["minutes"]:
            step, end = MINUTE, upto
        elif began_at >= begin["fives"]:
            step, end = FIVE_MINUTES, begin["minutes"]
        ends_at = min(began_at + timedelta(seconds=QUARTER), end)
        return ends_at, _count_span(conn, step, began_at, ends_at, only_whole=True)


@contextmanager
def alone(conn: Connection) -> Iterator[list[_Reach]]:
    """Run the block while nobody else counts, and give how far the numbers reach; nothing if nobody ever counted."""
    with transaction(conn, seconds=LIVE_SECONDS, lock_seconds=LIVE_SECONDS):
        yield [_reach(row) for row in rows(conn, "lock_counting", seconds=LIVE_SECONDS)]


def _reach(row: Row) -> _Reach:
    return _Reach(row["recounted"], row["folded"], row["through"])


def _advance(conn: Connection, reach: _Reach) -> None:
    rows(conn, "advance_counting", recounted=reach.recounted, folded=reach.folded, through=reach.through)


def _floor(at: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)
