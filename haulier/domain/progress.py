"""How far a running job says that it has come."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from haulier.domain.job import MOST_EXACT
from haulier.domain.text import cut

NOTE_CHARACTERS = 200
# No job runs for longer: ten years.
LONGEST_SECONDS = 315_360_000.0


class Progress(NamedTuple):
    """What a handler last said. Without a total it is not known. Units: said_at is of the monotonic clock."""

    done: float
    total: float | None
    note: str | None
    said_at: float


class Reported(NamedTuple):
    """What a running handler last said, when, and what it said first; if it began to count again, first since then."""

    done: float
    total: float | None
    note: str | None
    at: datetime
    first_done: float
    first_at: datetime

    @property
    def per_second(self) -> float | None:
        """Return how much is done a second; None if the reports do not say that yet."""
        seconds = (self.at - self.first_at).total_seconds()
        return (self.done - self.first_done) / seconds if seconds >= 1 and self.done > self.first_done else None

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at this rate; None if that is not known, or nothing is left."""
        rate = self.per_second
        if rate is None or self.total is None or self.total <= self.done:
            return None
        left = self.total - self.done
        # A handler may report numbers so small that the time has no number.
        return left / rate if left < LONGEST_SECONDS * rate else None


def plain_number(name: str, number: object) -> float:
    """Return the number as it can be stored. Raises: TypeError, ValueError."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"progress: {name} must be a number, not {type(number).__name__}")
    # NaN is in no range.
    if not 0 <= number <= MOST_EXACT:
        raise ValueError(f"progress: {name} must be from 0 to 2**53")
    # A member of an Enum writes itself as its name, which would have the words of all jobs refused.
    return float(number)


def cut_note(note: object) -> str:
    """Return the note, cut to the characters that are kept. Raises: TypeError."""
    if not isinstance(note, str):
        raise TypeError(f"progress: note must be a string, not {type(note).__name__}")
    return cut(note, NOTE_CHARACTERS)
