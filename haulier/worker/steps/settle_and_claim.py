"""The one call for all threads of a process: settles the runs that have ended, and claims jobs to start."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from haulier.domain.claim import ClaimRequest
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.domain.job import JobStatus
from haulier.postgres.database import Database
from haulier.queue import claims
from haulier.queue.claims import Claimed
from haulier.worker.lanes import Lanes
from haulier.worker.link import Link
from haulier.worker.steps.report import Report
from haulier.worker.supply import Supply
from haulier.worker.supply.buffer import Ended, RoundTrip
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.sizes import SLOW_CALL_SECONDS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SettleAndClaim:
    """The round trip for all threads, made by the thread that has the buffer's place."""

    calls: Calls
    claim_less: Callable[[ClaimRequest], list[HeldJob] | None]
    stopping: threading.Event

    def make(self, round_trip: RoundTrip) -> int | None:
        """Settle and claim in one call; return how many jobs were claimed, or None when the database is away."""
        calls, ended, request = self.calls, round_trip.ended, self._request(round_trip)
        if ended and request is not None and calls.supply.call_size.is_halved:
            if calls.settle(ended) is None:
                return None
            ended = []
        if request is None:
            return calls.settle(ended)
        began_at = time.monotonic()
        try:
            claimed = calls.claim(ended, request)
        except Refusal as error:
            if ended:
                # The error does not tell whether the settle or the claim was refused.
                calls.doubt(ended, error)
            if request.limit > 1 and time.monotonic() - began_at >= SLOW_CALL_SECONDS:
                # The claim has waited for something, and each smaller claim would too: make them after a pause.
                calls.supply.call_size.refused(request.limit)
                calls.link.outage.failed(error)
                return None
            claimed = self.claim_less(request)
        return None if claimed is None else len(claimed)

    def _request(self, round_trip: RoundTrip) -> ClaimRequest | None:
        """Return the claim to make now, or None if nothing is to be claimed."""
        lanes, worker_id = self.calls.lanes, self.calls.link.lease.worker_id
        if worker_id is None or self.stopping.is_set() or not round_trip.limit or not (marks := lanes.to_claim()):
            return None
        passed_over = lanes.refused_claims.waiting()
        return ClaimRequest(
            worker_id, claims.new_claim(), marks, round_trip.limit, round_trip.free, passed_over=passed_over
        )


@dataclass(frozen=True, slots=True)
class Calls:
    """Settles, or settles and claims, and acts on the answers. Only the thread that has the place may call it."""

    database: Database
    supply: Supply
    lanes: Lanes
    link: Link
    report: Report

    def settle_ended(self) -> int | None:
        """Settle the runs that have ended since the last call; None when the database is away."""
        return self.settle(self.supply.buffer.round_trip().ended)

    def settle(self, ended: Sequence[Ended]) -> int | None:
        """Settle these runs and claim nothing; None when the database is away."""
        if not ended:
            return 0
        failures, began_at = self.report.failures, time.monotonic()
        try:
            with self.database.connection() as conn:
                settlements = failures.settlements(ended)
                statuses, _ = claims.settle_and_claim(conn, settlements, None, worker_name=failures.worker_name)
        except Refusal as error:
            self.doubt(ended, error)
            return 0
        except DatabaseUnavailable as error:
            self._put_back(ended, error, jobs=len(ended), began_at=began_at)
            return None
        self.link.outage.succeeded()
        self.supply.call_size.succeeded(time.monotonic() - began_at)
        self.report.ended(self.supply.settled(ended, statuses))
        return 0

    def claim(self, ended: Sequence[Ended], request: ClaimRequest, *, alone: bool = False) -> list[HeldJob] | None:
        """Settle these runs and return the jobs that were claimed; None when the database is away.

        Raises: Refusal; with `alone`, for a single job, JobRefused.
        """
        held, failures, began_at = self.supply.held, self.report.failures, time.monotonic()
        statuses: list[JobStatus | None] = []
        # None, unknown, from when the claim is sent until its answer has been read.
        claimed: list[HeldJob] | None = []
        try:
            with self.database.connection() as conn:
                settlements = failures.settlements(ended)
                held.begin_claim(request.claim_id)
                claimed = None
                if alone:
                    answer = claims.claim_next(conn, request)
                else:
                    statuses, answer = claims.settle_and_claim(
                        conn, settlements, request, worker_name=failures.worker_name
                    )
            claimed = [held.as_held(job) for job in answer.jobs]
        except Refusal:
            # A refused claim took nothing.
            claimed = []
            raise
        except DatabaseUnavailable as error:
            self._put_back(ended, error, jobs=max(request.limit, len(ended)), began_at=began_at)
            return None
        finally:
            held.end_claim(request.claim_id, claimed)
        self.link.claim_answered()
        if ended:
            self.report.ended(self.supply.settled(ended, statuses))
        if not request.suspect:
            self._take_up(request, answer, claimed, began_at)
        return claimed

    def doubt(self, ended: Sequence[Ended], error: Refusal) -> None:
        """Leave a batch to the settler, because the database refuses a part of it and other runs must not wait."""
        log.debug("a batch of %d outcomes is refused: %s", len(ended), error)
        mark_unsure(ended)
        self.supply.buffer.doubt(ended)

    def _take_up(self, request: ClaimRequest, answer: Claimed, claimed: Sequence[HeldJob], began_at: float) -> None:
        is_short = answer.has_all(request)
        self.lanes.claim_answered(request, answer.jobs, is_short=is_short)
        surplus = self.supply.claim_answered(request, claimed, answer.size, is_short=is_short, began_at=began_at)
        if surplus:
            self.lanes.marks.given_back(running.job for running in surplus)
            self.settle_ended()

    def _put_back(self, ended: Sequence[Ended], error: DatabaseUnavailable, *, jobs: int, began_at: float) -> None:
        self.supply.call_size.failed(jobs, time.monotonic() - began_at)
        self.link.outage.failed(error)
        mark_unsure(ended)
        self.supply.buffer.put_back(ended)
        # It is unknown whether the claim was committed: the heartbeat looks, and gives back jobs that no thread holds.
        self.link.beat_wanted.set()


def mark_unsure(ended: Sequence[Ended]) -> None:
    """Note that it is unknown whether these runs have been settled."""
    for each in ended:
        each.running.is_unsure = True
