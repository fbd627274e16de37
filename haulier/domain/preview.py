"""What a schedule comes to, for people: each tick as clocks show it, and what clocks do to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from haulier.domain.schedule import Timetable
from haulier.domain.time_zone import SECOND, change_between, wall

SKIPPED = "Clocks skip the time that is meant: it fires when they go on."
FIRST, SECOND_TIME = "Clocks show this time twice: the first time.", "Clocks show this time twice: the second time."


class Preview(NamedTuple):
    """A tick. Shape: local is what clocks show, with their offset; note is None where clocks do nothing to it."""

    scheduled_at: datetime
    local: str
    note: str | None


def preview(timetable: Timetable, after: datetime, most: int) -> list[Preview]:
    """Return the ticks after this instant, at most so many."""
    return [
        Preview(at, at.astimezone(timetable.where).isoformat(), _note(timetable, at))
        for at in islice(timetable.ticks(after), most)
    ]


def _note(timetable: Timetable, at: datetime) -> str | None:
    if timetable.cron is None:
        return None
    local = at.astimezone(timetable.where)
    # In a gap the offset of afterwards is the greater one, and clocks show no time of it.
    if _offset(local, 0) > _offset(local, 1):
        return SECOND_TIME if local.fold else FIRST
    shown = wall(at, timetable.where)
    if change_between(at - SECOND, at, timetable.where) is None:
        return None
    is_meant = next(timetable.cron.walls(shown - SECOND), None) == shown
    return None if is_meant else SKIPPED


def _offset(local: datetime, fold: int) -> timedelta:
    return local.replace(fold=fold).utcoffset() or timedelta()
