"""The times of a schedule in words, if they are simple, and what became of its ticks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from haulier.domain.schedules.cron import NAMED
from haulier.domain.text import number

DAYS: Mapping[str, str] = {
    "0": "Sunday",
    "1": "Monday",
    "2": "Tuesday",
    "3": "Wednesday",
    "4": "Thursday",
    "5": "Friday",
    "6": "Saturday",
    "7": "Sunday",
}
# What became of a tick: the status of a job that lends its look, and a word.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "fired": ("succeeded", "Fired"),
    "skipped_overlap": ("cancelled", "Skipped: previous run still going"),
    "skipped_missed": ("retrying", "Skipped: no worker was running in time"),
    "skipped_paused": ("queued", "Skipped: paused"),
    "skipped_refused": ("failed_permanent", "Skipped: the database refused its job"),
}
# Up to this many times are listed one by one.
MOST_TIMES = 4


def words_of(cron: str | None, every_seconds: int | None) -> str:
    """Return the times in words, or "" if they are too complex."""
    if cron is None:
        return f"every {_whole(every_seconds or 0)}"
    fields = NAMED.get(cron, cron).split()
    if len(fields) != 5:
        return ""
    minute, hour, *days = fields
    if days == ["*", "*", "*"] and (hour == "*" or (minute.isdigit() and hour.startswith("*/"))):
        return _each_hour(minute) if hour in ("*", "*/1") else _each_day(int(minute), _steps(hour, 24))
    if not (minute.isdigit() and hour.isdigit()):
        return ""
    on = _days(*days)
    return f"{on} at {_clock(int(hour), int(minute))}" if on else ""


def _whole(seconds: int) -> str:
    """Return the seconds in the largest unit that divides them, so that nothing is rounded."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{number(seconds // length)} {unit}"
    return f"{number(seconds)} s"


def _each_hour(minute: str) -> str:
    if minute.isdigit():
        return f"every hour at :{int(minute):02d}"
    minutes = range(60) if minute == "*" else _steps(minute, 60)
    if step := _even(minutes, 60):
        return "every minute" if step == 1 else f"every {step} minutes"
    times = [f":{each:02d}" for each in minutes]
    return f"every hour at {_listed(times)}" if 0 < len(times) <= MOST_TIMES else ""


def _each_day(minute: int, hours: range) -> str:
    if step := _even(hours, 24):
        return f"every {step} hours at :{minute:02d}"
    times = [_clock(hour, minute) for hour in hours]
    return f"every day at {_listed(times)}" if 0 < len(times) <= MOST_TIMES else ""


def _steps(field: str, end: int) -> range:
    """Return the values of a field `*/n`, which begins again at its end; none of any other."""
    found = re.fullmatch(r"\*/([0-9]+)", field)
    return range(0, end, int(found[1])) if found and int(found[1]) else range(0)


def _even(values: range, end: int) -> int:
    """Return the step of these values if it stays the same from one round to the next; 0: it does not."""
    return values.step if len(values) > 1 and end % values.step == 0 else 0


def _listed(times: list[str]) -> str:
    return f"{', '.join(times[:-1])} and {times[-1]}" if len(times) > 1 else times[0]


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02d}:{minute:02d}"


def _days(day: str, month: str, weekday: str) -> str:
    if month != "*":
        return ""
    if day == "*":
        named = {"*": "every day", "1-5": "Monday to Friday", **{n: f"every {name}" for n, name in DAYS.items()}}
        return named.get(weekday, "")
    if weekday != "*":
        return ""
    return "on the last day of the month" if day == "L" else f"on day {day} of the month" if day.isdigit() else ""
