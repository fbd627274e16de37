"""Changes of clocks, and what five expressions come to on those days. Written down by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Change(NamedTuple):
    """A day on which clocks are changed.

    Half_past_two and midnight are the one tick of the day of `30 2 * * *` and `0 0 * * *`, in UTC; hours, quarters and
    twice are how many ticks that day has of `0 * * * *`, `*/15 * * * *` and `15,45 * * * *`.
    """

    zone: str
    day: str
    half_past_two: str
    midnight: str
    hours: int
    quarters: int
    twice: int


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
SANTIAGO, BEIRUT, CASABLANCA = "America/Santiago", "Asia/Beirut", "Africa/Casablanca"
KOLKATA = "Asia/Kolkata"

CHANGES = (
    # 2:00 becomes 3:00
    Change(BERLIN, "2026-03-29", "2026-03-29T01:00", "2026-03-28T23:00", 23, 92, 46),
    # 3:00 becomes 2:00
    Change(BERLIN, "2026-10-25", "2026-10-25T00:30", "2026-10-24T22:00", 25, 100, 50),
    # 2:00 becomes 3:00
    Change(NEW_YORK, "2026-03-08", "2026-03-08T07:00", "2026-03-08T05:00", 23, 92, 46),
    # 2:00 becomes 1:00: 2:30 comes once
    Change(NEW_YORK, "2026-11-01", "2026-11-01T07:30", "2026-11-01T04:00", 25, 100, 50),
    # 2:00 becomes 2:30, which is there; 2:00 and 2:15 are not
    Change(LORD_HOWE, "2026-10-04", "2026-10-03T15:30", "2026-10-03T13:30", 23, 94, 47),
    # 2:00 becomes 1:30: 1:30 and 1:45 come twice
    Change(LORD_HOWE, "2026-04-05", "2026-04-04T16:00", "2026-04-04T13:00", 24, 98, 49),
    # 0:00 becomes 1:00: midnight is skipped
    Change(SANTIAGO, "2026-09-06", "2026-09-06T05:30", "2026-09-06T04:00", 23, 92, 46),
    # 24:00 becomes 23:00: the hour before midnight comes twice
    Change(SANTIAGO, "2026-04-04", "2026-04-04T05:30", "2026-04-04T03:00", 25, 100, 50),
    # … and the day behind it has midnight once
    Change(SANTIAGO, "2026-04-05", "2026-04-05T06:30", "2026-04-05T04:00", 24, 96, 48),
    # 0:00 becomes 1:00
    Change(BEIRUT, "2026-03-29", "2026-03-28T23:30", "2026-03-28T22:00", 23, 92, 46),
    # 24:00 becomes 23:00
    Change(BEIRUT, "2026-10-24", "2026-10-23T23:30", "2026-10-23T21:00", 25, 100, 50),
    Change(BEIRUT, "2026-10-25", "2026-10-25T00:30", "2026-10-24T22:00", 24, 96, 48),
    # Ramadan begins: 3:00 becomes 2:00
    Change(CASABLANCA, "2026-02-15", "2026-02-15T01:30", "2026-02-14T23:00", 25, 100, 50),
    # Ramadan ends: 2:00 becomes 3:00
    Change(CASABLANCA, "2026-03-22", "2026-03-22T02:00", "2026-03-22T00:00", 23, 92, 46),
    # 2:00 becomes 1:00, for good: since its release 2026f tzdata knows of no further Ramadan
    Change(CASABLANCA, "2026-09-20", "2026-09-20T02:30", "2026-09-19T23:00", 25, 100, 50),
    Change(CASABLANCA, "2027-02-07", "2027-02-07T02:30", "2027-02-07T00:00", 24, 96, 48),
    Change(CASABLANCA, "2027-03-14", "2027-03-14T02:30", "2027-03-14T00:00", 24, 96, 48),
    # No change, ever
    Change(KOLKATA, "2026-03-29", "2026-03-28T21:00", "2026-03-28T18:30", 24, 96, 48),
)
