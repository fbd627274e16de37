"""Reads the notes that the handlers here and those of the peers write: number, monotonic seconds, process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Note(NamedTuple):
    """One start of one job."""

    n: int
    at: float
    pid: int


def read(path: Path) -> list[Note]:
    """Return the notes so far, in the order in which they were written."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    # The last line may be half written.
    words = (line.split() for line in lines if line.endswith("\n"))
    return [Note(int(n), float(at), int(pid)) for n, at, pid in words]
