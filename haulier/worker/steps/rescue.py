"""Takes the jobs of dead workers: declares workers dead, looks for their jobs, and leaves the rest for later."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable, JobCutOff, Refusal, reason
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.queue.claims import Dead
from haulier.worker.lanes.refused import Refused
from haulier.worker.link.lease import Lease
from haulier.worker.metrics import counts
from haulier.worker.steps.sparing_log import SparingLog

# How often to look for the orphans of all workers without a row, and not only of workers that this process has declared
# dead: the process that declared a worker dead may itself have died before it took that worker's jobs. Units: leases.
EVERYBODY_LEASES = 2
# A job that is too large to be moved to the history is retried for this long, ever more rarely. Then it ends
# without its payload: else it would run for ever.
GIVE_UP_SECONDS = 900.0
# A sweep stops after this share of a lease, so that the beat comes in time, and continues after the beat.
SWEEP_SHARE = 1 / 6

log = logging.getLogger(__name__)
sparing = SparingLog(log)


class Rescuer:
    """Rescues the jobs of dead workers, for one process."""

    def __init__(self, lease: Lease, refused: Refused, *, lease_seconds: float) -> None:
        self._lease = lease
        self._refused = refused
        self._lease_seconds = lease_seconds
        self._swept_at = float("-inf")
        # When the next lease runs out.
        self._lapse_at = float("inf")
        self._asked_of_all_at = float("-inf")
        # How many orphans a statement takes: halved after a slow one, which a single orphan may have caused.
        self._most = claims.RESCUED_AT_ONCE
        # The workers that this process has declared dead and that may still have jobs, with their names.
        self._dead: dict[UUID, str] = {}
        # The jobs that were too large when they were last tried.
        self._too_large: set[UUID] = set()

    def is_due(self) -> bool:
        """Return whether to sweep now; a process may only after it has beaten for a whole lease."""
        now = time.monotonic()
        is_time = now >= self._lapse_at or now - self._swept_at >= self._lease_seconds / 6
        return is_time and self._lease.may_rescue

    def look_ahead(self, conn: Connection) -> None:
        """Find out when the next lease runs out, so that a sweep comes right then."""
        # If the database refuses the statement, sweeps come as often as without it.
        self._lapse_at = float("inf")
        self._lapse_at = time.monotonic() + claims.seconds_until_lapse(conn)

    def sweep(self, conn: Connection) -> bool:
        """Declare workers dead whose lease has run out, and take their jobs; return whether there were any jobs."""
        self._swept_at = time.monotonic()
        buried = self._bury(conn)
        for dead in buried:
            log.warning("worker %s let its lease run out", dead)
        self._dead.update({dead.id: str(dead) for dead in buried})
        of_all = self._swept_at - self._asked_of_all_at >= EVERYBODY_LEASES * self._lease_seconds
        if not of_all and not self._dead:
            return False
        self._give_up(conn)
        try:
            taken, is_cut = self._take(conn, {dead.id for dead in buried}, of_all=of_all)
        except JobCutOff as error:
            self._note(error.job_id, error, is_too_large=True)
            raise
        if is_cut:
            # Take the rest right after the next beat.
            self._swept_at = float("-inf")
        elif of_all:
            self._asked_of_all_at = self._swept_at
        if not is_cut and not len(self._refused):
            self._dead.clear()
        counts.RESCUED.inc(len(taken))
        if taken:
            claims.note_taken_over(conn, taken)
        return bool(taken)

    def _bury(self, conn: Connection) -> list[Dead]:
        try:
            with translated():
                return claims.bury(conn, self._lease.registered_as)
        except Refusal as error:
            # Take the orphans of other workers, which have no row any more, all the same.
            sparing.warning(
                f"the database refuses to declare workers dead, trying again: {reason(error)}", about="bury"
            )
            return []

    def _take(self, conn: Connection, buried: set[UUID], *, of_all: bool) -> tuple[dict[UUID, UUID], bool]:
        """Return the jobs that were taken, each with its worker, and whether the time was up before the end."""
        until, taken_from = self._swept_at + SWEEP_SHARE * self._lease_seconds, dict[UUID, UUID]()
        passed_over, gone = self._refused.waiting(), self._refused.due()
        for part in claims.take_orphans(
            conn,
            buried=buried,
            names=self._dead,
            workers=None if of_all else self._dead.keys(),
            passed_over=passed_over,
            most=self._most,
        ):
            self._most = max(1, self._most // 2) if part.is_slow else min(claims.RESCUED_AT_ONCE, 2 * self._most)
            for refused in part.refused:
                gone.discard(refused.job_id)
                self._note(refused.job_id, refused, is_too_large=refused.is_too_large)
            for job_id, status in part.jobs.items():
                sparing.warning(f"rescued: now {status}", extra={"job_id": str(job_id)})
            self._refused.forget(part.jobs)
            self._too_large -= part.jobs.keys()
            taken_from.update(part.taken_from)
            if time.monotonic() > until:
                return taken_from, True
        # The statement did not return these, though they were due: another process has taken them.
        self._refused.forget(gone)
        return taken_from, False

    def _give_up(self, conn: Connection) -> None:
        """End the jobs that have been too large for GIVE_UP_SECONDS."""
        for job_id in [job_id for job_id in self._too_large if self._refused.seconds(job_id) >= GIVE_UP_SECONDS]:
            part = claims.end_without_payload(conn, job_id)
            for refused in part.refused:
                self._refused.add(job_id, refused)
            if part.jobs:
                log.error(
                    "job %s could not be moved to the history for %.0f s, and ended without its payload",
                    job_id,
                    self._refused.seconds(job_id),
                    extra={"job_id": str(job_id)},
                )
            if not part.refused:
                self._too_large.discard(job_id)
                self._refused.forget([job_id])

    def _note(self, job_id: UUID, error: DatabaseUnavailable | Refusal, *, is_too_large: bool) -> None:
        self._refused.add(job_id, error)
        if is_too_large:
            self._too_large.add(job_id)
        else:
            self._too_large.discard(job_id)
