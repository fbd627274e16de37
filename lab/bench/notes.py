"""What the kinds here, and their likes among the peers, write down: number, monotonic seconds, process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Note(NamedTuple):
    """One start of one job."""

    n: int
    at: float
    pid: int


def read(path: Path) -> list[Note]:
    """Return what was written so far, in that order."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    # The last one may be half written.
    words = (line.split() for line in lines if line.endswith("\n"))
    return [Note(int(n), float(at), int(pid)) for n, at, pid in words]
