"""Times and states as people read and type them; the template filters for them and for numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from markupsafe import Markup

from haulier.domain.text import count, duration, number, share, size

from ...http.service import service
from . import charts

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


def moment(at: datetime, zone: tzinfo, now: datetime) -> str:
    """Return the time in a zone to a tenth of a second, with the date unless that is today."""
    is_today = at.astimezone(zone).date() == now.astimezone(zone).date()
    return f"{clock(at, zone) if is_today else exact(at, zone, now)}.{at.microsecond // 100_000}"


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


def rate(per_second: float) -> str:
    """Return how much is done in a second, a minute or an hour, whichever is the first with a whole one."""
    units = (("a second", 1), ("a minute", 60), ("an hour", 3600))
    unit, length = next((each for each in units if per_second * each[1] >= 1), units[-1])
    amount = per_second * length
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{number(amount)} {unit}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "duration": duration,
    "share": share,
    "rate": rate,
    "size": size,
    "ago": ago,
    "exact": exact,
    "clock": clock,
    "moment": moment,
    "count": count,
    "shape": shape,
    "word": word,
}


UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|d)")


def read_duration(text: str) -> timedelta | None:
    """Return the duration, such as `10m` or `2 h`; None if the text is not a duration."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * UNITS[found[2]]
    return timedelta(seconds=seconds) if seconds <= 10 * 365 * 86_400 else None


def read_time(text: str, zone: tzinfo) -> datetime | None:
    """Return the time, RFC 3339 or local time of the zone; None if the text is not a time."""
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# A job is marked once it has used this share of its timeout.
NEARLY = 0.8
STEPS = 20


def timeout_of(kind: str, own: int | None) -> float | None:
    """Return the timeout of a job in seconds: its own, or else the timeout of its kind; None: no timeout."""
    if own is not None:
        return own
    known = service().kinds.get(kind)
    return known.timeout or None if known else None


def used(since: datetime, timeout: float, now: datetime) -> tuple[str, Markup]:
    """Return `near`, `past` or "", for how much of its timeout a job has used, and that as a bar."""
    part = (now - since).total_seconds() / timeout
    mark = "" if part < NEARLY else "near" if part < 1 else "past"
    # In steps, because each change of the bar is a change of the page.
    step = min(1.0, round(part * STEPS) / STEPS)
    return mark, charts.bar(step, "retrying" if mark else "running", f"{100 * step:.0f} % of its timeout")
