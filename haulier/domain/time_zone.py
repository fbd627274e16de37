"""The time zones of the world, as the package tzdata has them, and what its clocks show.

The system's own files are never read: two hosts would differ by what each has installed. Nor is anything changed that
the process shares: `zoneinfo.reset_tzpath` would also change what the handlers of a team's kinds see.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):
    """There is no such time zone."""


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone(name: str) -> ZoneInfo:
    """Return the zone of this name, such as Europe/Berlin. Raises: UnknownZone."""
    # The name becomes a path only where it is one of the list.
    if name not in zone_names():
        raise UnknownZone(name)
    return _zone(name)


@cache
def _zone(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def wall(at: datetime, where: ZoneInfo) -> datetime:
    """Return what clocks show at an instant: a naive time."""
    return at.astimezone(where).replace(tzinfo=None, fold=0)


def offset(at: datetime, where: ZoneInfo) -> timedelta:
    """Return by how much clocks are ahead of UTC at an instant."""
    return wall(at, where) - at.astimezone(UTC).replace(tzinfo=None)


def first_at(shown: datetime, where: ZoneInfo) -> datetime:
    """Return the first instant, in UTC, at which clocks show this time, or where a change skips it, any later one."""
    early = shown.replace(tzinfo=where, fold=0).astimezone(UTC)
    if wall(early, where) == shown:
        return early
    # A time that is skipped: read by the clock of before the change it lies behind it, by that of afterwards before it.
    change = change_between(shown.replace(tzinfo=where, fold=1).astimezone(UTC), early, where)
    return early if change is None else change


def change_between(start: datetime, end: datetime, where: ZoneInfo) -> datetime | None:
    """Return when clocks are changed after start and up to end; None where the offset is the same at both.

    Shape: there is one change in between at most.
    """
    before = offset(start, where)
    if offset(end, where) == before:
        return None
    # All changes are at whole seconds.
    low, high = int(start.timestamp()), int(end.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if offset(datetime.fromtimestamp(middle, UTC), where) == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


class Span(NamedTuple):
    """The instants after start and up to end, at which clocks are ahead of UTC by this offset."""

    start: datetime
    end: datetime
    offset: timedelta


def spans(start: datetime, end: datetime, where: ZoneInfo) -> Iterator[Span]:
    """Return the time after start and up to end in one span or, where a change lies within, in two."""
    change = change_between(start, end, where)
    if change is not None:
        yield Span(start, change - SECOND, offset(start, where))
        start = change - SECOND
    yield Span(start, end, offset(end, where))
