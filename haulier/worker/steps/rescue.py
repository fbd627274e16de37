"""Takes the jobs of the dead: who is declared dead, whose jobs are looked for, and what is left for later."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.metrics import counts
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.refused import Refused
from haulier.worker.shared.sparing_log import SparingLog

# How often the jobs of all who have no row are looked for, and not only of those whom this process has declared dead:
# whoever did that may have died before it took them. Units: leases.
EVERYBODY_LEASES = 2
# A sweep gives way to the next beat after this share of a lease, and goes on after it.
SWEEP_SHARE = 1 / 6

log = logging.getLogger(__name__)
sparing = SparingLog(log)


class Rescuer:
    """What one process does for the jobs of others."""

    def __init__(self, lease: Lease, refused: Refused, *, lease_seconds: float) -> None:
        self._lease = lease
        self._refused = refused
        self._lease_seconds = lease_seconds
        self._swept_at = float("-inf")
        self._asked_of_all_at = float("-inf")
        # How many orphans a statement takes: halved where one waits for something that only one of them may wait for.
        self._most = consume.RESCUED_AT_ONCE
        # Declared dead here, and not known to have no jobs left.
        self._dead: set[UUID] = set()

    def is_due(self) -> bool:
        """Tell whether to sweep now; only who has beaten for a whole lease may."""
        return self._lease.may_rescue and time.monotonic() - self._swept_at >= self._lease_seconds / 6

    def sweep(self, conn: Connection) -> bool:
        """Declare dead whoever is, and take their jobs; tell whether there were any."""
        self._swept_at = time.monotonic()
        buried = consume.bury(conn)
        for dead in buried:
            log.warning("worker %s let its lease run out", dead)
        self._dead.update(dead.id for dead in buried)
        of_all = self._swept_at - self._asked_of_all_at >= EVERYBODY_LEASES * self._lease_seconds
        if not of_all and not self._dead:
            return False
        taken, is_cut = self._take(conn, {dead.id for dead in buried}, None if of_all else self._dead)
        if is_cut:
            # The rest right after the next beat.
            self._swept_at = float("-inf")
        elif of_all:
            self._asked_of_all_at = self._swept_at
        if not is_cut and not len(self._refused):
            self._dead.clear()
        counts.RESCUED.inc(taken)
        return taken > 0

    def _take(self, conn: Connection, buried: set[UUID], workers: set[UUID] | None) -> tuple[int, bool]:
        """Return how many jobs were taken, and whether the time was up before all were."""
        until, taken = self._swept_at + SWEEP_SHARE * self._lease_seconds, 0
        passed_over, gone = self._refused.waiting(), self._refused.due()
        for part in consume.take_orphans(
            conn, buried=buried, workers=workers, passed_over=passed_over, most=self._most
        ):
            self._most = max(1, self._most // 2) if part.is_slow else min(consume.RESCUED_AT_ONCE, 2 * self._most)
            for refused in part.refused:
                gone.discard(refused.job_id)
                self._refused.add(refused.job_id, refused, may_pass=refused.may_pass)
            for job_id, status in part.jobs.items():
                sparing.warning(f"rescued: now {status}", extra={"job_id": str(job_id)})
            self._refused.forget(part.jobs)
            taken += len(part.jobs)
            if time.monotonic() > until:
                return taken, True
        # They were not found any more: they are somebody else's.
        self._refused.forget(gone)
        return taken, False
