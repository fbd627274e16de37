"""Numbers, times and states, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

# Under their own names: commands find all that they say here.
from haulier.domain.text import NOTHING as NOTHING
from haulier.domain.text import duration as duration
from haulier.domain.text import number as number
from haulier.domain.text import share as share
from haulier.domain.text import size as size

# A shape and a colour for each state: the colour is never the only sign.
STATES = {
    "queued": ("○ queued", "default"),
    "running": ("● running", "cyan"),
    "retrying": ("↻ retrying", "yellow"),
    "succeeded": ("✔ succeeded", "green"),
    "failed_permanent": ("✖ failed", "bold red"),
    "cancelled": ("⊘ cancelled", "dim"),
    "working": ("● working", "green"),
    "quiet": ("○ quiet", "yellow"),
    "stopping": ("◐ stopping", "yellow"),
    "silent": ("✖ silent", "bold red"),
    "gone": ("⊘ gone", "dim"),
    "ok": ("✔ ok", "green"),
    "warn": ("! warn", "yellow"),
    "bad": ("✖ bad", "bold red"),
    "unknown": ("? unknown", "dim"),
    "late": ("↗ late", "yellow"),
    "failing": ("✖ failing", "bold red"),
    "paused": ("‖ paused", "yellow"),
    "idle": ("○ idle", "dim"),
    "well": ("✔ well", "green"),
    "waiting": ("○ waiting", "default"),
    "done": ("✔ done", "green"),
    "failed": ("✖ failed", "bold red"),
    "active": ("● active", "green"),
    "ended": ("⊘ ended", "dim"),
    "refused": ("✖ refused", "bold red"),
    "fired": ("✔ fired", "green"),
    "skipped_overlap": ("⊘ skipped: overlap", "yellow"),
    "skipped_missed": ("⊘ skipped: missed", "yellow"),
    "skipped_paused": ("⊘ skipped: paused", "dim"),
    "skipped_refused": ("⊘ skipped: refused", "red"),
}


BLOCKS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float | None]) -> str:
    """Return a line of blocks as high as the values are; a space if there is none."""
    most = max([value for value in values if value is not None], default=0)
    return "".join(
        " " if value is None else BLOCKS[min(7, int(8 * value / most))] if most else BLOCKS[0] for value in values
    )


def moment(text: str | None) -> datetime | None:
    """Return the time of an answer."""
    return None if text is None else datetime.fromisoformat(text)


def since(earlier: str | None, later: str | None) -> float | None:
    """Return the seconds between two times of an answer, and never fewer than none."""
    if earlier is None or later is None:
        return None
    return max(0.0, (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds())


def when(text: str | None, now: datetime) -> str:
    """Return a time of an answer, as people say it: how long ago, and after a day the date."""
    instant = moment(text)
    if instant is None:
        return NOTHING
    away = now - instant
    if abs(away) < timedelta(days=1):
        # The clocks of two machines differ by a little.
        if abs(away) < timedelta(seconds=1):
            return "now"
        return (
            f"{duration(away.total_seconds())} ago" if away > timedelta(0) else f"in {duration(-away.total_seconds())}"
        )
    return day_and_time(instant, now)


def day_and_time(instant: datetime, now: datetime) -> str:
    """Return the date and the time in the zone of this machine; the year if it is another."""
    local = instant.astimezone()
    return local.strftime("%d %b %H:%M:%S" if local.year == now.astimezone().year else "%d %b %Y %H:%M:%S")


def clock(text: str | None) -> str:
    """Return the time of day in the zone of this machine, to a tenth of a second."""
    instant = moment(text)
    if instant is None:
        return NOTHING
    local = instant.astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 100_000}"
