"""Times and states as people read them, and the filters of templates for these and for numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any

from haulier.domain.text import count, duration, number, share, size

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAY_SECONDS = 86_400


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago a time is, or in how long it will be; app.js says the same."""
    seconds = (now - at).total_seconds()
    past, amount = seconds >= 0, abs(seconds)
    if amount < 1:
        return "now"
    for unit, length, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, DAY_SECONDS)):
        if amount < most:
            return f"{amount // length:.0f} {unit} ago" if past else f"in {amount // length:.0f} {unit}"
    days = int(amount // DAY_SECONDS)
    unit = "day" if days == 1 else "days"
    return f"{days} {unit} ago" if past else f"in {days} {unit}"


def exact(at: datetime, zone: tzinfo, now: datetime) -> str:
    """Return the time in a zone, with the year if that is not the current one."""
    return dated(at, zone, now.astimezone(zone).year)


def dated(at: datetime, zone: tzinfo, this_year: int) -> str:
    """Return the time in a zone, with the year if that is not this one."""
    local = at.astimezone(zone)
    year = f" {local.year}" if local.year != this_year else ""
    return f"{local.day} {MONTHS[local.month - 1]}{year} {local:%H:%M:%S}"


def clock(at: datetime, zone: tzinfo) -> str:
    """Return the time of the day in a zone."""
    return f"{at.astimezone(zone):%H:%M:%S}"


STATES: Mapping[str, tuple[str, str]] = {
    "queued": ("queued", "Queued"),
    "running": ("running", "Running"),
    "retrying": ("retrying", "Retrying"),
    "succeeded": ("succeeded", "Succeeded"),
    "failed_permanent": ("failed", "Failed"),
    "cancelled": ("cancelled", "Cancelled"),
}


def shape(status: str) -> str:
    """Return the name of a state's shape and colour."""
    return STATES[status][0]


def word(status: str) -> str:
    """Return a state's word."""
    return STATES[status][1]


FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "duration": duration,
    "share": share,
    "size": size,
    "ago": ago,
    "exact": exact,
    "clock": clock,
    "count": count,
    "shape": shape,
    "word": word,
}
