"""The one call that serves the whole process: settles the runs that have ended, claims jobs to start."""

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
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.queue.consume.claim import Claimed
from haulier.queue.rows import ClaimedJob
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.buffer import Buffer, Ended, RoundTrip
from haulier.worker.shared.call_size import SLOW_SECONDS, CallSize
from haulier.worker.shared.held import HeldJob, HeldJobs
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.refused import Refusals
from haulier.worker.steps.report import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SettleAndClaim:
    """The round trip for all threads, made by the thread that has the buffer's place."""

    next_claim: NextClaim
    calls: Calls
    claim_less: Callable[[ClaimRequest], list[HeldJob] | None]
    call_size: CallSize
    outage: Outage

    def make(self, round_trip: RoundTrip) -> int | None:
        """Settle and claim in one call; return how many jobs were claimed, or None when the database is away."""
        ended, request = round_trip.ended, self.next_claim.request(round_trip)
        if ended and request is not None and self.call_size.is_halved:
            if self.calls.settle(ended) is None:
                return None
            ended = []
        if request is None:
            return self.calls.settle(ended)
        began_at = time.monotonic()
        try:
            claimed = self.calls.claim(ended, request)
        except Refusal as error:
            if ended:
                # The error does not tell whether the settle or the claim was refused.
                self.calls.doubt(ended, error)
            if request.limit > 1 and time.monotonic() - began_at >= SLOW_SECONDS:
                # The claim has waited for something, and each smaller claim would too: make them after a pause.
                self.call_size.refused(request.limit)
                self.outage.failed(error)
                return None
            claimed = self.claim_less(request)
        return None if claimed is None else len(claimed)


@dataclass(frozen=True, slots=True)
class NextClaim:
    """Decides whether to claim, from which marks, and how many."""

    lease: Lease
    stopping: threading.Event
    marks: Marks
    refusals: Refusals
    bell: Bell

    def request(self, round_trip: RoundTrip) -> ClaimRequest | None:
        """Return the claim to make now, or None where nothing is to be claimed."""
        refusals, worker_id = self.refusals, self.lease.worker_id
        marks = refusals.lanes.leave_out(self.marks.marks())
        if worker_id is None or self.stopping.is_set() or not marks or not round_trip.limit:
            return None
        # The database refuses so many outcomes, or so many claims, that more jobs would only add to them.
        if refusals.to_claim.is_full or refusals.to_settle.is_full:
            return None
        return ClaimRequest(
            worker_id,
            consume.new_claim(),
            marks,
            round_trip.limit,
            round_trip.free,
            passed_over=refusals.to_claim.waiting(),
        )

    def answered(self, request: ClaimRequest, jobs: Sequence[ClaimedJob], *, is_short: bool) -> None:
        """Note the jobs that a claim brought, and whether they were all there were."""
        self.bell.answered()
        self.refusals.to_claim.forget(job.id for job in jobs)
        self.marks.claimed(jobs, is_short=is_short, read=request.marks)

    def given_back(self, jobs: Sequence[HeldJob]) -> None:
        """Note that these jobs were claimed and not started."""
        self.marks.given_back(held.job for held in jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Settles, or settles and claims, and acts on the answers. Only the thread that has the place may call it."""

    database: Database
    buffer: Buffer
    held: HeldJobs
    next_claim: NextClaim
    report: Report
    call_size: CallSize
    outage: Outage
    beat_wanted: threading.Event

    def settle_ended(self) -> int | None:
        """Settle the runs that have ended since the last call; None when the database is away."""
        return self.settle(self.buffer.round_trip().ended)

    def settle(self, ended: Sequence[Ended]) -> int | None:
        """Settle these runs and claim nothing; None when the database is away."""
        if not ended:
            return 0
        began_at = time.monotonic()
        try:
            with self.database.connection() as conn:
                statuses, _ = self._send(conn, ended, None)
        except Refusal as error:
            self.doubt(ended, error)
            return 0
        except DatabaseUnavailable as error:
            self.call_size.failed(len(ended), time.monotonic() - began_at)
            self._put_back(ended, error)
            return None
        self._succeeded(began_at)
        self._let_go(ended, statuses)
        return 0

    def claim(self, ended: Sequence[Ended], request: ClaimRequest, *, alone: bool = False) -> list[HeldJob] | None:
        """Settle these runs and return the jobs that were claimed; None when the database is away.

        Raises: Refusal; with `alone`, for a single job, JobRefused.
        """
        began_at = time.monotonic()
        statuses: list[JobStatus | None] = []
        # None, unknown, from when the claim is sent until its answer has been read.
        claimed: list[HeldJob] | None = []
        try:
            with self.database.connection() as conn:
                self.held.begin_claim(request.claim_id)
                claimed = None
                if alone:
                    brought = consume.claim_next(conn, request)
                else:
                    statuses, brought = self._send(conn, ended, request)
            claimed = [self.held.as_held(job) for job in brought.jobs]
        except Refusal:
            # A refused claim took nothing.
            claimed = []
            raise
        except DatabaseUnavailable as error:
            self.call_size.failed(max(request.limit, len(ended)), time.monotonic() - began_at)
            self._put_back(ended, error)
            return None
        finally:
            self.held.end_claim(request.claim_id, claimed)
        self._succeeded(began_at)
        self._let_go(ended, statuses)
        if not request.suspect:
            self._take_up(request, brought, claimed, asked_at=began_at)
        return claimed

    def doubt(self, ended: Sequence[Ended], error: Refusal) -> None:
        """Leave a batch of which the database refuses something to the settler, so that other runs need not wait."""
        log.debug("a batch of %d outcomes is refused: %s", len(ended), error)
        mark_unsure(ended)
        self.buffer.doubt(ended)

    def _send(
        self, conn: Connection, ended: Sequence[Ended], request: ClaimRequest | None
    ) -> tuple[list[JobStatus | None], Claimed]:
        failures = self.report.failures
        return consume.settle_and_claim(conn, failures.settlements(ended), request, worker_name=failures.worker_name)

    def _succeeded(self, began_at: float) -> None:
        self.call_size.succeeded(time.monotonic() - began_at)
        self.outage.succeeded()

    def _put_back(self, ended: Sequence[Ended], error: DatabaseUnavailable) -> None:
        self.outage.failed(error)
        mark_unsure(ended)
        self.buffer.put_back(ended)
        # Nobody knows whether the claim was committed: the heartbeat looks, and gives back jobs that nobody holds.
        self.beat_wanted.set()

    def _let_go(self, ended: Sequence[Ended], statuses: Sequence[JobStatus | None]) -> None:
        """Let go of the runs that were settled, and report them; leave those that were not to the settler."""
        if not ended:
            return
        left_out = [each for each, status in zip(ended, statuses, strict=True) if status is None]
        if left_out:
            self.buffer.doubt(left_out)
        done = [(each, status) for each, status in zip(ended, statuses, strict=True) if status is not None]
        self.held.drop([each.running for each, _ in done])
        self.report.ended(done)

    def _take_up(self, request: ClaimRequest, brought: Claimed, claimed: Sequence[HeldJob], *, asked_at: float) -> None:
        # More may be waiting: jobs beyond the limits of one claim, and last attempts that would not start at once.
        is_short = brought.has_all(request)
        self.report.claimed(len(claimed))
        self.call_size.brought(len(claimed), brought.size)
        self.next_claim.answered(request, brought.jobs, is_short=is_short)
        surplus = self.buffer.fill(claimed, free=request.free, is_short=is_short, asked_at=asked_at)
        if surplus:
            self.next_claim.given_back(claimed[-surplus:])
            self.settle_ended()


def mark_unsure(ended: Sequence[Ended]) -> None:
    """Note that it is not known whether these have been settled."""
    for each in ended:
        each.running.is_unsure = True
