"""The one call for all threads of a process: settles the runs that have ended, and claims jobs to start.

Outcomes that do not settle with the others are settled together if possible, else one by one, or later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from haulier.domain.claim import ClaimRequest, Settlement
from haulier.domain.errors import DatabaseUnavailable, Locked, Refusal, RefusedForNow
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.errors import translated
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.queue.claims import Claimed
from haulier.worker.lanes import Lanes
from haulier.worker.lanes.refused import Refused
from haulier.worker.link import Link
from haulier.worker.steps.report import Report
from haulier.worker.supply import Supply
from haulier.worker.supply.buffer import Ended, RoundTrip
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.sizes import MOST_AT_ONCE, SLOW_CALL_SECONDS

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
                # The error does not say whether the settle or the claim was refused.
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
    """Settles, or settles and claims, and acts on the answers: for the place, and one for the settler beside it."""

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
        log.debug("the database refuses a batch of %d outcomes, storing them one by one: %s", len(ended), error)
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


# How long one outcome may wait for its row's lock while the others wait for it. A cancel holds it for a few ms.
ROW_SECONDS = 0.2
NOT_STORED = "the outcome of the run could not be stored: see the worker's log"
# A failure with NOT_STORED may replace the outcome of a run. A release is not one.
MADE_BY_A_RUN = (Verb.COMPLETE, Verb.FAIL, Verb.SNOOZE)


@dataclass(slots=True, kw_only=True)
class SettleDoubtful:
    """Settles the outcomes that the buffer holds as doubtful. For the settler."""

    database: Database
    supply: Supply
    refused: Refused
    report: Report
    stopping: threading.Event
    # The outcomes that the database refuses for now.
    _held_back: list[Ended] = field(default_factory=list, init=False)
    # How many are settled at once: halved after a refusal for now, which a single outcome may have caused.
    _most: int = field(default=MOST_AT_ONCE, init=False)

    @property
    def has_held_back(self) -> bool:
        """Return whether any outcome is held back, due or not."""
        return bool(self._held_back)

    def has_due(self) -> bool:
        """Return whether any outcome that was held back is to be retried now."""
        return any(map(self._is_due, self._held_back))

    def settle(self) -> None:
        """Settle the doubtful outcomes, and put back those that still do not settle.

        Raises: DatabaseUnavailable; Refusal.
        """
        batch = self._collect()
        try:
            if batch:
                self._settle_all(batch)
                self._most = min(MOST_AT_ONCE, 2 * self._most)
        except Locked:
            # The lock may be held for long: next time the others come first.
            batch.append(batch.pop(0))
        except DatabaseUnavailable as error:
            mark_unsure(batch)
            if not isinstance(error, RefusedForNow):
                raise
            # The statement has waited, perhaps for a single one of them: try half as many.
            self._most = max(1, len(batch) // 2)
            if len(batch) == 1:
                self._hold_back(batch.pop(), error)
        finally:
            self.supply.buffer.doubt(batch)

    def _collect(self) -> list[Ended]:
        """Return the outcomes to settle now, at most as many as are settled at once."""
        due = [ended for ended in self._held_back if self._is_due(ended)]
        self._held_back = [ended for ended in self._held_back if ended not in due]
        for ended in due:
            ended.running.is_held_back = False
        batch = [*self.supply.buffer.collect_doubtful(), *due]
        batch, rest = batch[: self._most], batch[self._most :]
        self.supply.buffer.doubt(rest)
        return batch

    def _settle_all(self, batch: list[Ended]) -> None:
        """Settle what one statement can, and the rest one by one; remove from the batch what is done."""
        with self.database.connection() as conn:
            batch[:] = self._settle_each(conn, batch)
            batch[:] = self._let_go_of_earlier(conn, batch)
            while batch:
                self._settle_alone(conn, batch[0])
                batch.pop(0)

    def _is_due(self, ended: Ended) -> bool:
        # A process that stops tries at once, and then leaves the job to other processes.
        return self.stopping.is_set() or not self.refused.is_waiting(ended.running.job.id)

    def _settle_each(self, conn: Connection, batch: Sequence[Ended]) -> list[Ended]:
        """Settle all that can be settled, and return the outcomes that were left out."""
        left = []
        failures = self.report.failures
        settled = claims.settle_each(
            conn, failures.settlements(batch), uncounted=failures.refused, worker_name=failures.worker_name
        )
        for ended, became in zip(batch, settled, strict=True):
            if became is None:
                left.append(ended)
            elif isinstance(became, Refusal):
                self._hold_back(ended, became)
            else:
                self._let_go(ended, became)
        return left

    def _let_go_of_earlier(self, conn: Connection, left: Sequence[Ended]) -> list[Ended]:
        """Let go of the runs that an earlier settle without an answer has settled, and return the others."""
        unsure = [ended.running.fence for ended in left if ended.running.is_unsure]
        earlier = claims.settled_earlier(conn, unsure) if unsure else {}
        for ended in left:
            if ended.running.fence in earlier:
                self._let_go(ended, earlier[ended.running.fence])
        return [ended for ended in left if ended.running.fence not in earlier]

    def _settle_alone(self, conn: Connection, ended: Ended) -> None:
        """Settle one run by itself, waiting for its row up to ROW_SECONDS. Raises: Locked; DatabaseUnavailable."""
        failures = self.report.failures
        [settlement] = failures.settlements([ended])
        try:
            try:
                status = _settled_alone(conn, settlement, failures.worker_name)
            except Refusal as error:
                # It waited for a lock on the job's row: a lock on the counts would have been refused in `settle_each`.
                if settlement.failure is None or isinstance(error, Locked):
                    raise
                status = _settled_alone(conn, settlement.uncounted, failures.worker_name)
                failures.refused(error)
        except Locked:
            raise
        except Refusal as error:
            self._hold_back(ended, error)
        else:
            self._let_go(ended, status)

    def _let_go(self, ended: Ended, status: JobStatus | None) -> None:
        self.refused.forget([ended.running.job.id])
        self.supply.held.drop([ended.running])
        self.report.ended([(ended, status)])

    def _hold_back(self, ended: Ended, error: Refusal) -> None:
        """Hold back an outcome that the database refuses for now; if it can never be stored, fail the job."""
        outcome = ended.outcome
        self.refused.add(ended.running.job.id, error)
        if error.is_lasting and outcome.verb in MADE_BY_A_RUN and outcome.error != NOT_STORED:
            self.supply.buffer.doubt([ended._replace(outcome=Outcome.fail_for_good(NOT_STORED))])
        elif self.stopping.is_set():
            # The job is given back with all other unfinished jobs, and runs again.
            self.supply.held.leave([ended.running])
        else:
            ended.running.is_held_back = True
            self._held_back.append(ended)


def _settled_alone(conn: Connection, settlement: Settlement, worker_name: str) -> JobStatus | None:
    # Translated here, because the caller handles a refusal and an outage differently.
    with translated():
        settled = claims.settle(conn, [settlement], lock_seconds=ROW_SECONDS, worker_name=worker_name)
        return settled.get(settlement.fence.id)
