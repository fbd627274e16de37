"""Cron expressions: which there are, and at which instants each fires in a time zone.

Where clocks are changed, the hour field decides. `*` means every hour that passes: nothing is made up for in a gap, and
both of two hours that are shown alike count. Any other hour field names times of the clock: one that a change skips
fires when the gap ends, and one that comes twice fires the first time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from haulier.domain.time_zone import first_at, offset, spans, wall

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
# Clocks are changed by a day at most, as where a country changes sides of the date line.
DAY, MARGIN = timedelta(days=1), timedelta(days=2)
# From here cronsim looks 50 years ahead. Within 40 each date falls on each day of the week, the 29th of February too.
_SOME_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - as a clock shows it
_FIELD = re.compile(r"[0-9A-Za-z*,/#-]+")


class InvalidCron(ValueError):
    """The text is no cron expression; the message says why."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression. Shape: text is as it was written, but for spaces; fields is what it stands for."""

    text: str
    fields: str

    def walls(self, after: datetime) -> Iterator[datetime]:
        """Return the times of a clock, naive, that fit and are later than this one, in order."""
        try:
            yield from CronSim(self.fields, after)
        except OverflowError:
            # The calendar ends.
            return

    def ticks(self, after: datetime, where: ZoneInfo) -> Iterator[datetime]:
        """Return the instants, in UTC, at which it fires after this one, in order."""
        if self.fields.split()[1] == "*":
            return self._each_hour_that_passes(after, where)
        return self._times_of_the_clock(after, where)

    def _times_of_the_clock(self, after: datetime, where: ZoneInfo) -> Iterator[datetime]:
        last = after
        for shown in self.walls(wall(after, where)):
            at = first_at(shown, where)
            # It is not later where clocks were turned back before `after`, and where several times lie in one gap.
            if at > last:
                yield at
                last = at

    def _each_hour_that_passes(self, after: datetime, where: ZoneInfo) -> Iterator[datetime]:
        start = after
        while True:
            end = start + DAY
            for span in spans(start, end, where):
                for shown in self.walls(_shifted(span.start, span.offset)):
                    at = (shown - span.offset).replace(tzinfo=UTC)
                    if at > span.end:
                        break
                    yield at
            # To the next day on which anything fits, which may be years away. With a margin on both sides, since clocks
            # may be changed in between.
            ahead = offset(end, where)
            shown_next = next(self.walls(_shifted(end, ahead) - MARGIN), None)
            if shown_next is None:
                return
            start = max(end, (shown_next - ahead - MARGIN).replace(tzinfo=UTC))


def _shifted(at: datetime, by: timedelta) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None) + by


# Kept, since schedules are decided again and again by what they say.
@lru_cache(maxsize=10_000)
def parse_cron(text: str) -> Cron:
    """Return the expression. Raises: InvalidCron, for a text that is none, and for one that never fires."""
    if len(text) > MAX_CRON:
        raise InvalidCron(f"Longer than {MAX_CRON} characters.")
    written = " ".join(text.split())
    if written.startswith("@"):
        if written not in NAMED:
            raise InvalidCron(f"Of the names that begin with @ there are {', '.join(NAMED)}.")
        return Cron(written, NAMED[written])
    fields = written.split()
    if len(fields) != 5:
        raise InvalidCron("Needs five fields: minute, hour, day of the month, month, day of the week.")
    if strange := [field for field in fields if not _FIELD.fullmatch(field)]:
        raise InvalidCron(f"A field holds letters, digits, and * , - / # alone, which {strange[0]!r} does not.")
    cron = Cron(written, written)
    try:
        is_ever = next(cron.walls(_SOME_TIME), None) is not None
    except CronSimError as error:
        raise InvalidCron(f"{error}.") from None
    if not is_ever:
        raise InvalidCron("Never fires.")
    return cron
