"""The look for jobs in lanes that are new to this process: at all lanes from their start, or where there are too many
at a part of them at a time, and at what has come lately."""

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

# A job comes when its transaction began, and is seen when that has committed.
LATE_SECONDS = 2.0
# Of what came before the last look so long ago, nobody has looked; it is left to the look that goes round.
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scanner:
    """Looks for lanes, those of all queues where none is named. For whoever has the buffer's place."""

    database: Database
    marks: Marks
    queues: Sequence[str]

    def scan(self) -> None:
        """Look once. Raises: DatabaseUnavailable; Refusal."""
        marks, began_at = self.marks, time.monotonic()
        try:
            with self.database.connection() as conn:
                found = consume.stretch(conn, queues=self.queues, after=marks.place, limit=marks.at_once)
                others = self._others(conn) if marks.is_going_round else []
        except (DatabaseUnavailable, Refusal):
            marks.scan_failed()
            raise
        marks.scanned(found.lanes, began_at=began_at, end=found.end, others=others)

    def _others(self, conn: Connection) -> list[Lane]:
        """Return the lanes that must not wait until the look has gone round: the busy, and those of new jobs."""
        seconds = min(self.marks.seconds_since_scan + LATE_SECONDS, LONGEST_SECONDS)
        fresh = consume.fresh_lanes(conn, seconds=seconds, soon_seconds=SOON_SECONDS)
        ours = (lane for lane in fresh if not self.queues or lane[0] in self.queues)
        return consume.heads(conn, {*self.marks.busy, *ours})
