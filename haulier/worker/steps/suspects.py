"""Suspects, jobs that have crashed before: finds due ones, waits until nothing else runs, runs each by itself.

The heartbeat looks for them. A thread then keeps the buffer's place, so that nobody claims, waits until the process
has drained, and runs them one after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from haulier.domain.claim import ClaimRequest, Lane, Mark
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.statements import Connection
from haulier.queue import claims as worker_claims
from haulier.worker.lanes import Lanes
from haulier.worker.link import Link
from haulier.worker.steps.claim_less import SmallerClaims
from haulier.worker.steps.operate import NextOperation
from haulier.worker.steps.settle_and_claim import Calls
from haulier.worker.supply.buffer import Ended
from haulier.worker.supply.held import HeldJob, HeldJobs

# How long the process may claim nothing while it drains for a suspect; doubled each time that was not enough.
FIRST_DRAIN_SECONDS = 10.0
# How long it is one process's turn to drain. Shorter than a drain, since a process that has the turn may be dead.
TURN_SECONDS = 5.0
# Suspects run for this long before other jobs get their turn.
SUSPECTS_SECONDS = 5.0
# While the process drains, the runs that have ended are settled this often.
ALONE_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SuspectSearch:
    """Finds out whether this process is to run suspects that are due; if so, sets `suspects_due` and rings the bell.

    The same statement says when an operation is due: so an idle process needs no statement of its own for that.
    """

    link: Link
    held: HeldJobs
    lanes: Lanes
    next_operation: NextOperation
    queues: Sequence[str]

    def look(self, conn: Connection) -> None:
        """Look once. Raises: DatabaseUnavailable; Refusal."""
        lanes, operation_in = worker_claims.suspects_and_operations(conn, queues=self.queues)
        self.next_operation.seen(operation_in)
        marks = _due_marks(lanes)
        passed_over = self.lanes.refused_claims.waiting()
        worker_id = self.link.lease.registered_as
        if not marks or worker_id is None:
            return
        # A suspect that cannot be claimed is not worth a drain.
        if passed_over and not worker_claims.has_next(
            conn, ClaimRequest(worker_id, worker_claims.new_claim(), marks, 1, 1, suspect=True, passed_over=passed_over)
        ):
            return
        # A process that runs nothing need not drain. Of the processes that run jobs, only the one whose turn it is
        # drains: otherwise a single suspect would stop all of them from claiming.
        if self.held.is_alone() or worker_claims.has_turn(conn, worker_id, slot_seconds=TURN_SECONDS):
            self.lanes.suspects_due.set()
            self.link.bell.ring()


class DrainLimit:
    """How long a drain may take: doubled until one succeeds; after one that fails, none begins for as long as it took.

    So at most half of the time goes into drains, and a suspect among long jobs still gets its turn.
    """

    def __init__(self) -> None:
        self.seconds = FIRST_DRAIN_SECONDS
        self._not_before = float("-inf")

    def is_ready(self) -> bool:
        """Return whether a drain may begin."""
        return time.monotonic() >= self._not_before

    def failed(self) -> None:
        """Note a drain in which other jobs were still running in the process."""
        self._not_before = time.monotonic() + self.seconds
        self.seconds *= 2

    def succeeded(self) -> None:
        """Note a drain after which no other job was running in the process."""
        self.seconds = FIRST_DRAIN_SECONDS


@dataclass(slots=True)
class Suspects:
    """Runs suspects, each as the only job in the process. Only the thread that has the buffer's place may call it."""

    calls: Calls
    claims: SmallerClaims
    stopping: threading.Event
    queues: Sequence[str]
    _drain: DrainLimit = field(default_factory=DrainLimit, init=False)

    def run(self, ended: Sequence[Ended], work: Callable[[HeldJob], Ended]) -> None:
        """Run the suspects that are due; `ended` are the runs that the caller was to settle, and `work` runs a job.

        The caller has the place, so no thread claims meanwhile; the other threads finish their jobs. If that takes too
        long, return without a run; the next drain may take twice as long.
        """
        buffer, lanes = self.calls.supply.buffer, self.calls.lanes
        buffer.put_back(ended)
        lanes.suspects_due.clear()
        if not self._drain.is_ready():
            return
        buffer.is_reserved = True
        try:
            lanes.marks.given_back(running.job for running in buffer.empty())
            if self.wait_until_alone(self._drain.seconds):
                self._drain.succeeded()
                self._run_alone(work)
            elif not self.stopping.is_set():
                self._drain.failed()
        finally:
            buffer.is_reserved = False

    def _run_alone(self, work: Callable[[HeldJob], Ended]) -> None:
        until = time.monotonic() + SUSPECTS_SECONDS
        while time.monotonic() < until and (suspect := self._claim()):
            self.calls.supply.buffer.add(work(suspect))
            if not self.wait_until_alone(SUSPECTS_SECONDS):
                return

    def _claim(self) -> HeldJob | None:
        """Claim a suspect; None if none is due, none can be claimed, or the database is away."""
        calls = self.calls
        worker_id = calls.link.lease.worker_id
        if worker_id is None or self.stopping.is_set() or calls.lanes.refused_claims.is_full:
            return None
        try:
            with calls.database.connection() as conn:
                marks = _due_marks(worker_claims.lanes(conn, queues=self.queues, suspect=True))
            request = ClaimRequest(worker_id, worker_claims.new_claim(), marks, 1, 1, suspect=True)
            claimed = self.claims.claim_one(request)
        except (DatabaseUnavailable, Refusal) as error:
            calls.link.outage.failed(error)
            return None
        return claimed[0] if claimed else None

    def wait_until_alone(self, seconds: float) -> bool:
        """Wait until nothing else runs here, settling the runs that end meanwhile; False if the time is up first."""
        until = time.monotonic() + seconds
        while not self.stopping.is_set() and time.monotonic() < until:
            if self.calls.settle_ended() is None:
                self.calls.link.outage.pause()
                # A run counts as held until it is settled, so time in which nothing can be settled does not count.
                until = time.monotonic() + seconds
            elif self.calls.supply.held.wait_until_alone(ALONE_CHECK_SECONDS):
                return True
        return False


def _due_marks(lanes: Iterable[Lane]) -> list[Mark]:
    """Return a mark at the start of each lane in which a suspect is due."""
    return [lane.head for lane in lanes if lane.seconds <= 0]
