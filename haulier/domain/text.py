"""What is shown to people: numbers, sizes, and how many there are of something."""

from __future__ import annotations

NOTHING = "–"
# A number from here on is told in millions.
MANY = 10_000_000


def number(value: float | None) -> str:
    """Return a whole number with commas, or in millions."""
    if value is None:
        return NOTHING
    return f"{value / 1e6:,.1f} M" if abs(value) >= MANY else f"{value:,.0f}"


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
