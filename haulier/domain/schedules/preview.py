"""What a schedule comes to, for people: each tick as clocks show it, and what clocks do to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from haulier.domain.schedules.cron import SECOND
from haulier.domain.schedules.schedule import Timetable

SKIPPED = "The clocks skip this time: the tick fires right after the gap."
FIRST, SECOND_TIME = (
    "The clocks show this time twice: this is the first.",
    "The clocks show this time twice: this is the second.",
)


class Preview(NamedTuple):
    """A tick. `local` is what clocks show, with their offset; note is None if clocks do nothing to it."""

    scheduled_at: datetime
    local: str
    note: str | None


def preview(timetable: Timetable, after: datetime, most: int) -> list[Preview]:
    """Return the ticks after this instant, at most this many."""
    return [
        Preview(at, at.astimezone(timetable.where).isoformat(), _note(timetable, at))
        for at in islice(timetable.ticks(after), most)
    ]


def _note(timetable: Timetable, at: datetime) -> str | None:
    if timetable.cron is None:
        return None
    where = timetable.where
    local = at.astimezone(where)
    # An hour that comes twice has the greater offset first; in a gap it is the other way round.
    if _offset(local, 0) > _offset(local, 1):
        return SECOND_TIME if local.fold else FIRST
    shown = local.replace(tzinfo=None)
    ends_gap = shown - (at - SECOND).astimezone(where).replace(tzinfo=None) > SECOND
    return SKIPPED if ends_gap and not timetable.cron.matches(shown) else None


def _offset(local: datetime, fold: int) -> timedelta:
    return local.replace(fold=fold).utcoffset() or timedelta()
