"""Finds jobs that no mark of this process leads to.

A scan reads all lanes from their start, or a part of them if there are too many. Between two such scans, a scan of the
new jobs costs the same beside any number of lanes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.claim import Lane
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.worker.lanes.marks import SOON_SECONDS, Marks

# How far to look back beyond the last scan: a job's time is when its transaction began, and it is visible only once
# the transaction has committed.
LATE_SECONDS = 2.0
# Look back no further than this, however long ago the last scan was; older jobs are left to the scan that goes round.
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scanner:
    """Looks for lanes of these queues; none: of all. Only the thread that has the buffer's place may call it."""

    database: Database
    marks: Marks
    queues: Sequence[str]

    def scan(self) -> None:
        """Look once. Raises: DatabaseUnavailable; Refusal."""
        marks, began_at = self.marks, time.monotonic()
        marks.scan_begins()
        try:
            with self.database.connection() as conn:
                stretch = claims.stretch(conn, queues=self.queues, after=marks.place, limit=marks.at_once)
                others = self._others(conn) if marks.is_going_round else []
        except (DatabaseUnavailable, Refusal):
            marks.scan_failed()
            raise
        marks.scanned(stretch.lanes, began_at=began_at, end=stretch.end, others=others)

    def scan_new(self) -> bool:
        """Look for new jobs, and return whether any is due. Raises: DatabaseUnavailable; Refusal."""
        began_at = time.monotonic()
        try:
            with self.database.connection() as conn:
                fresh = self._fresh(conn)
        except (DatabaseUnavailable, Refusal):
            self.marks.scan_failed()
            raise
        self.marks.scanned_new(fresh, began_at=began_at)
        return any(lane.seconds <= 0 for lane in fresh)

    def _fresh(self, conn: Connection) -> list[Lane]:
        seconds = min(self.marks.seconds_since_scan + LATE_SECONDS, LONGEST_SECONDS)
        fresh = claims.fresh_lanes(conn, seconds=seconds, soon_seconds=SOON_SECONDS)
        return [lane for lane in fresh if not self.queues or lane.head.queue in self.queues]

    def _others(self, conn: Connection) -> list[Lane]:
        """Return the lanes that must not wait for a whole round: lanes with recent jobs, and lanes of new jobs."""
        return claims.heads(conn, {*self.marks.busy, *(lane.head.lane for lane in self._fresh(conn))})
