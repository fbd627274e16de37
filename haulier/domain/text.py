"""What is shown to people: numbers, durations and sizes, how many there are of something, and texts of any length."""

from __future__ import annotations

NOTHING = "–"
# A number from here on is shown in millions.
MANY = 10_000_000


def number(value: float | None) -> str:
    """Return a whole number with commas, or in millions."""
    if value is None:
        return NOTHING
    return f"{value / 1e6:,.1f} M" if abs(value) >= MANY else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """Return how much of the whole a part is."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def duration(seconds: float | None) -> str:
    """Return how long something takes, in at most two units."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def cut(text: str, most: int) -> str:
    """Return the text, or of a longer one at most this many characters, of which the last says that there is more."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def count(amount: float, one: str, many: str | None = None) -> str:
    """Return the number of things with their name."""
    return f"{number(amount)} {one if amount == 1 else many or f'{one}s'}"


def size(byte_count: float) -> str:
    """Return how large something is, as Postgres says it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if byte_count < 10_240:
            return f"{byte_count:.0f} {unit}"
        byte_count /= 1024
    return f"{byte_count:.0f} TB"
