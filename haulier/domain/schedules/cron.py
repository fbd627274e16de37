"""Cron expressions: which are valid, and when each fires in a time zone.

The hour field decides what happens on a day on which clocks change. `*` (or `*/1`) means every hour that passes: a
skipped hour is not made up for, and an hour that comes twice fires twice. Any other hour field names times of the
clock: a skipped time fires when the gap ends, and a time that comes twice fires the first time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CRON = 200
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
SECOND, HOUR, QUARTER = timedelta(seconds=1), timedelta(hours=1), timedelta(days=91)
# From here CronSim searches 50 years. Within 40, each date falls on each day of the week, 29 February too.
_SOME_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - as a clock shows it
_FIELD = re.compile(r"[0-9A-Za-z*,/#-]+")


class InvalidCron(ValueError):
    """The text is not a cron expression; the message says why."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression.

    Attributes:
        text: As it was written, but for spaces.
        fields: The five fields that the text stands for.
    """

    text: str
    fields: str

    def matches(self, shown: datetime) -> bool:
        """Return whether the expression names this time of a clock, which is naive."""
        return next(CronSim(self.fields, shown - SECOND), None) == shown

    def ticks(self, after: datetime, where: ZoneInfo) -> Iterator[datetime]:
        """Return the instants, in UTC and in order, at which the expression fires after this one."""
        cron = CronSim(_spelled(self.fields), after.astimezone(where))
        if _has_short_changes(after, where):
            # If only one minute matches, CronSim jumps an hour ahead, and misses a tick behind a change of half an
            # hour. With a second value, which no clock shows, it goes from minute to minute.
            cron.minutes.add(60)
        last = after
        try:
            for tick in cron:
                at = tick.astimezone(UTC)
                # From within the second of two equal hours, CronSim goes back to the first.
                if at > last:
                    yield at
                    last = at
        except OverflowError:
            # The calendar ends.
            return


def _has_short_changes(at: datetime, where: ZoneInfo) -> bool:
    """Return whether clocks change by less than an hour, as on Lord Howe Island, within a year from then."""
    offsets = (cast(timedelta, (at + quarter * QUARTER).astimezone(where).utcoffset()) for quarter in range(4))
    return len({offset % HOUR for offset in offsets}) > 1


def _spelled(fields: str) -> str:
    """Return the same expression, spelled so that CronSim follows the rule for changes of the clock.

    CronSim takes a minute or hour field that starts with a star for "every so often in real time", and all other fields
    for times of the clock. Our rule depends only on whether the hour field means every hour.
    """
    minute, hour, days = fields.split(maxsplit=2)
    if hour in ("*", "*/1"):
        return f"{minute} * {days}"
    return f"{minute.replace('*', '0-59')} {hour.replace('*', '0-23')} {days}"


# Cached, because each look at a schedule parses its expression.
@lru_cache(maxsize=10_000)
def parse_cron(text: str) -> Cron:
    """Return the expression. Raises: InvalidCron if the text is not an expression, or never fires."""
    if len(text) > MAX_CRON:
        raise InvalidCron(f"Must have at most {MAX_CRON} characters.")
    written = " ".join(text.split())
    if written.startswith("@"):
        if written not in NAMED:
            raise InvalidCron(f"Unknown name; known are {', '.join(NAMED)}.")
        return Cron(written, NAMED[written])
    fields = written.split()
    if len(fields) != 5:
        raise InvalidCron("Must have five fields: minute, hour, day of the month, month, day of the week.")
    if strange := [field for field in fields if not _FIELD.fullmatch(field)]:
        raise InvalidCron(f"The field {strange[0]!r} is invalid: only letters, digits and * , - / # are allowed.")
    cron = Cron(written, written)
    try:
        first = next(CronSim(written, _SOME_TIME), None)
    except CronSimError as error:
        raise InvalidCron(f"{error}.") from None
    if first is None:
        raise InvalidCron("Never fires.")
    return cron
