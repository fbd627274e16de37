"""Times and durations as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|d)")


def read_duration(text: str) -> timedelta | None:
    """Return the duration, such as `10m` or `2 h`, or None if the text is none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * UNITS[found[2]]
    return timedelta(seconds=seconds) if seconds <= 10 * 365 * 86_400 else None


def read_time(text: str, zone: tzinfo) -> datetime | None:
    """Return the time, RFC 3339 or without an offset as it is in the zone; None if the text is none."""
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
