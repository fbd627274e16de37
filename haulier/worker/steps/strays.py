"""Finds jobs that the database says this process runs, though no thread here holds them, and gives them back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from haulier.domain.claim import Fence, Held, Settlement
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.worker.lanes.refused import Refused
from haulier.worker.link import Link
from haulier.worker.metrics import counts
from haulier.worker.steps.sparing_log import SparingLog
from haulier.worker.supply.held import HeldJobs

log = logging.getLogger(__name__)
sparing = SparingLog(log)


@dataclass(frozen=True, slots=True)
class Strays:
    """Gives back, uncharged, jobs that the database says this process runs. For the heartbeat."""

    link: Link
    held: HeldJobs
    refused: Refused

    def look_for_unanswered(self, conn: Connection) -> None:
        """Give back the jobs of claims that got no answer, because the connection was cut before the reply."""
        worker_id = self.link.lease.registered_as
        assert worker_id is not None
        self._give_strangers_back(conn, claims.held(conn, worker_id, self.held.unsure()))

    def compare(self, conn: Connection) -> None:
        """Compare the jobs that the database says run here with those held here, and give back the difference."""
        worker_id = self.link.lease.registered_as
        assert worker_id is not None
        self._give_strangers_back(conn, claims.strays(conn, worker_id, self.held.known()))

    def give_all_back(self, conn: Connection, worker_id: UUID) -> bool:
        """Give back every job of this worker; return whether all are gone, except those that others will take."""
        held = claims.held(conn, worker_id, self.held.known())
        for job_id in self._give_back(conn, [row.fence for row in held]):
            sparing.warning("released unfinished", extra={"job_id": str(job_id)})
        left = claims.held(conn, worker_id, self.held.known())
        # A job that the database refuses to take back becomes an orphan, and another worker takes it.
        return all(self.refused.is_waiting(row.fence.id) for row in left)

    def _give_strangers_back(self, conn: Connection, rows: list[Held]) -> None:
        """Give back the jobs that no thread here holds."""
        strangers = self.held.strangers(rows)
        # A job that the database refuses to take back is retried after a pause.
        due = [fence for fence in strangers if not self.refused.is_waiting(fence.id)]
        if not due:
            return
        given_back = self._give_back(conn, due)
        counts.STRANGERS.inc(len(given_back))
        self.link.bell.ring()
        for job_id in given_back:
            sparing.warning("gave back a job whose claim was never answered", extra={"job_id": str(job_id)})
        left = {fence.claim for fence in strangers if fence.id not in given_back}
        for claim_id in {fence.claim for fence in strangers} - left:
            self.held.resolved(claim_id)

    def _give_back(self, conn: Connection, fences: list[Fence]) -> list[UUID]:
        """Give the jobs back uncharged, and return those that were still ours.

        A job whose row is locked is left for the next time: the beat and the other jobs must not wait for it.
        """
        started = {running.fence for running in self.held.all() if running.began_at is not None}
        settlements = [
            Settlement(fence, Outcome.release() if fence in started else Outcome.give_back()) for fence in fences
        ]
        given_back = []
        for fence, became in zip(fences, claims.settle_each(conn, settlements), strict=True):
            if isinstance(became, JobStatus):
                given_back.append(fence.id)
                self.refused.forget([fence.id])
            elif became is not None:
                self.refused.add(fence.id, became)
        return given_back
