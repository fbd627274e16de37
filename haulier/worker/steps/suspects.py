"""The jobs that have crashed before: whether some are due, the wait until nothing else runs here, and their runs.

The heartbeat looks; the thread that has the buffer's place then holds it, so that nobody claims, waits until the
process has drained, and runs them one after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from haulier.domain.claim import ClaimRequest, Mark
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.database import Database
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.buffer import Buffer, Ended
from haulier.worker.shared.held import HeldJob, HeldJobs
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.refused import Refused
from haulier.worker.steps.claim_less import SmallerClaims
from haulier.worker.steps.settle_and_claim import Calls

# How long the process may stand still for a job that has crashed before; doubled each time that was not enough.
FIRST_DRAIN_SECONDS = 10.0
# Whose turn it is to stand still changes more often: it may be that of a process which is paused, or dead.
TURN_SECONDS = 5.0
# A run of suspects ends after this long, so that the other jobs get their turn.
SUSPECTS_SECONDS = 5.0
# While the process waits to be alone, what the others end is settled so often.
ALONE_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SuspectSearch:
    """Finds out whether suspects are due that this process is to run, and says so: `due` is set, and the bell rung."""

    lease: Lease
    held: HeldJobs
    refused: Refused
    due: threading.Event
    bell: Bell
    queues: Sequence[str]

    def look(self, conn: Connection) -> None:
        """Look once. Raises: DatabaseUnavailable; Refusal."""
        marks = _due_marks(conn, self.queues)
        passed_over = self.refused.waiting()
        worker_id = self.lease.registered_as
        if not marks or worker_id is None:
            return
        # One that cannot be claimed is not worth standing still for.
        if passed_over and not consume.has_next(
            conn, ClaimRequest(worker_id, consume.new_claim(), marks, 1, 1, suspect=True, passed_over=passed_over)
        ):
            return
        # Whoever runs nothing is alone already. The others finish what they run first, and claim nothing meanwhile:
        # one process after the other, so that a single suspect does not make all of them stand still.
        if self.held.is_alone() or consume.has_turn(conn, worker_id, slot_seconds=TURN_SECONDS):
            self.due.set()
            self.bell.ring()


@dataclass(frozen=True, slots=True)
class SuspectClaim:
    """Claims one suspect at a time. For whoever has the buffer's place."""

    database: Database
    lease: Lease
    refused: Refused
    claims: SmallerClaims
    outage: Outage
    stopping: threading.Event
    queues: Sequence[str]

    def claim(self) -> HeldJob | None:
        """Claim a suspect; None when none is due, or can be claimed, or the database is away."""
        worker_id = self.lease.worker_id
        if worker_id is None or self.stopping.is_set() or self.refused.is_full:
            return None
        try:
            with self.database.connection() as conn:
                marks = _due_marks(conn, self.queues)
            request = ClaimRequest(worker_id, consume.new_claim(), marks, 1, 1, suspect=True)
            claimed = self.claims.claim_one(request)
        except (DatabaseUnavailable, Refusal) as error:
            self.outage.failed(error)
            return None
        return claimed[0] if claimed else None


class Patience:
    """How long the process waits to be alone for a suspect: it grows until it suffices, and rests as long between.

    So at most half of the time goes into waiting, and a suspect among long jobs still gets its turn.
    """

    def __init__(self) -> None:
        self.seconds = FIRST_DRAIN_SECONDS
        self._not_before = float("-inf")

    def is_ready(self) -> bool:
        """Tell whether it is time to wait again."""
        return time.monotonic() >= self._not_before

    def exhausted(self) -> None:
        """Note that the wait was in vain."""
        self._not_before = time.monotonic() + self.seconds
        self.seconds *= 2

    def rewarded(self) -> None:
        """Note that the process was alone."""
        self.seconds = FIRST_DRAIN_SECONDS


@dataclass(slots=True)
class Suspects:
    """Runs suspects, each with nothing else in the process. For whoever has the buffer's place."""

    due: threading.Event
    buffer: Buffer
    marks: Marks
    held: HeldJobs
    calls: Calls
    claim: SuspectClaim
    outage: Outage
    stopping: threading.Event
    _patience: Patience = field(default_factory=Patience, init=False)

    def run(self, ended: Sequence[Ended], work: Callable[[HeldJob], Ended]) -> None:
        """Run those that are due; `ended` is what the caller was to settle, and `work` runs one.

        The caller has the place, so that nobody claims meanwhile; the others finish what they run. Where that takes too
        long the place is given up for a while, and next time more patience is shown.
        """
        self.buffer.put_back(ended)
        self.due.clear()
        if not self._patience.is_ready():
            return
        self.buffer.is_reserved = True
        try:
            self.marks.given_back([held.job for held in self.buffer.empty()])
            if self.wait_until_alone(self._patience.seconds):
                self._patience.rewarded()
                self._run_alone(work)
            elif not self.stopping.is_set():
                self._patience.exhausted()
        finally:
            self.buffer.is_reserved = False

    def _run_alone(self, work: Callable[[HeldJob], Ended]) -> None:
        until = time.monotonic() + SUSPECTS_SECONDS
        while time.monotonic() < until and (suspect := self.claim.claim()):
            self.buffer.add(work(suspect))
            if not self.wait_until_alone(SUSPECTS_SECONDS):
                return

    def wait_until_alone(self, seconds: float) -> bool:
        """Wait until nothing else runs here, and settle meanwhile what ends; False when the time is up first."""
        until = time.monotonic() + seconds
        while not self.stopping.is_set() and time.monotonic() < until:
            if self.calls.settle_ended() is None:
                self.outage.pause()
                # That the others have not ended is not to be seen while nothing can be settled.
                until = time.monotonic() + seconds
            elif self.held.wait_until_alone(ALONE_CHECK_SECONDS):
                return True
        return False


def _due_marks(conn: Connection, queues: Sequence[str]) -> list[Mark]:
    """Return the first place of each lane in which a suspect is due."""
    return [lane.head for lane in consume.lanes(conn, queues=queues, suspect=True) if lane.seconds <= 0]
