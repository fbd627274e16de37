"""The ledger of the handlers, kept outside of Haulier: a record of fixed size for each start and end of a run."""

from __future__ import annotations

import os
import struct
import time
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

# job, claim, attempt, pid, event, time
_FORM = struct.Struct("<16s16sIIId")
SIZE = _FORM.size


class Event(IntEnum):
    """An event that a handler records."""

    START = 1
    END = 2  # it is about to return
    RAISED = 3  # it is about to raise
    STOPPED = 4  # it was asked to stop, and obeys


class Record(NamedTuple):
    """One event of a run. Units: at is of the machine's monotonic clock; attempt counts claims."""

    job: UUID
    claim: UUID
    attempt: int
    pid: int
    event: Event
    at: float


class Writer:
    """Appends records to the file; each is a single write, so that those of several processes never mix."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: Event, job: UUID, claim: UUID, attempt: int, pid: int) -> None:
        """Append a record."""
        os.write(self._descriptor, _FORM.pack(job.bytes, claim.bytes, attempt, pid, event, time.monotonic()))


def read(path: Path) -> list[Record]:
    """Return the records, in the order in which they were written."""
    if not path.exists():
        return []
    data = path.read_bytes()
    # Without the last record if it is incomplete.
    whole = data[: len(data) // SIZE * SIZE]
    return [
        Record(UUID(bytes=job), UUID(bytes=claim), attempt, pid, Event(event), at)
        for job, claim, attempt, pid, event, at in _FORM.iter_unpack(whole)
    ]
