"""When a schedule fires, in words, as far as that is simple."""

from __future__ import annotations

import re
from collections.abc import Mapping

from haulier.domain.cron import NAMED
from haulier.domain.text import duration

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


def words_of(cron: str | None, every_seconds: int | None) -> str:
    """Return it in words, or "" where that would take many."""
    if cron is None:
        return f"every {duration(every_seconds)}"
    fields = NAMED.get(cron, cron).split()
    if len(fields) != 5:
        return ""
    minute, hour, *days = fields
    if hour == "*":
        return _within_an_hour(minute) if days == ["*", "*", "*"] else ""
    if not (minute.isdigit() and hour.isdigit()):
        return ""
    on = _days(*days)
    return f"{on} at {int(hour):02d}:{int(minute):02d}" if on else ""


def _within_an_hour(minute: str) -> str:
    if minute == "*":
        return "every minute"
    if found := re.fullmatch(r"\*/(\d+)", minute):
        return f"every {found[1]} minutes"
    return f"every hour at :{int(minute):02d}" if minute.isdigit() else ""


def _days(day: str, month: str, weekday: str) -> str:
    if month != "*":
        return ""
    if day == "*":
        named = {"*": "every day", "1-5": "Monday to Friday", **{n: f"every {name}" for n, name in DAYS.items()}}
        return named.get(weekday, "")
    if weekday != "*":
        return ""
    return "on the last day of the month" if day == "L" else f"on day {day} of the month" if day.isdigit() else ""
