"""Looks for jobs that no mark of this process leads to: in all lanes from their start, or where there are too many, in
a part of them at a time, and in the lanes of recent jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.claim import Lane
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.database import Database
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.marks import SOON_SECONDS, Marks

# How far to look back beyond the last scan: a job's time is when its transaction began, and it is visible only once
# the transaction has committed.
LATE_SECONDS = 2.0
# Look back no further than this, however long ago the last scan was; older jobs are left to the scan that goes round.
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scanner:
    """Looks for lanes, of all queues where none is named. Only the thread that has the buffer's place may call it."""

    database: Database
    marks: Marks
    queues: Sequence[str]

    def scan(self) -> None:
        """Look once. Raises: DatabaseUnavailable; Refusal."""
        marks, began_at = self.marks, time.monotonic()
        marks.scan_begins()
        try:
            with self.database.connection() as conn:
                found = consume.stretch(conn, queues=self.queues, after=marks.place, limit=marks.at_once)
                others = self._others(conn) if marks.is_going_round else []
        except (DatabaseUnavailable, Refusal):
            marks.scan_failed()
            raise
        marks.scanned(found.lanes, began_at=began_at, end=found.end, others=others)

    def _others(self, conn: Connection) -> list[Lane]:
        """Return the lanes that must not wait for a whole round: those that lately had jobs, and those of new jobs."""
        seconds = min(self.marks.seconds_since_scan + LATE_SECONDS, LONGEST_SECONDS)
        fresh = consume.fresh_lanes(conn, seconds=seconds, soon_seconds=SOON_SECONDS)
        ours = (lane for lane in fresh if not self.queues or lane[0] in self.queues)
        return consume.heads(conn, {*self.marks.busy, *ours})
