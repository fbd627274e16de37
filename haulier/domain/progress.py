"""How far a running job says that it has come."""

from __future__ import annotations

from typing import NamedTuple

from haulier.domain.job import MOST_EXACT
from haulier.domain.text import cut

NOTE_CHARACTERS = 200


class Progress(NamedTuple):
    """What a handler last said. Without a total it is not known. Units: said_at is of the monotonic clock."""

    done: float
    total: float | None
    note: str | None
    said_at: float


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
