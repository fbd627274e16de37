"""The thread that claims, runs and settles jobs; a run hands the settle an Outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.domain.outcome import Outcome
from haulier.kinds import Kind
from haulier.worker.isolation.children import BUSY_SECONDS, Children
from haulier.worker.metrics.counts import Tally
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.buffer import Buffer, Ended, RoundTrip
from haulier.worker.shared.held import HeldJob
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import Outage
from haulier.worker.steps.execute import run_one
from haulier.worker.steps.scan import Scanner
from haulier.worker.steps.settle_and_claim import SettleAndClaim
from haulier.worker.steps.suspects import Suspects
from haulier.worker.steps.wait import Waiting


@dataclass(eq=False, repr=False, kw_only=True)
class Runner(threading.Thread):
    """Runs one job after the other until the process stops; when the buffer runs low it calls the database for all."""

    number: int
    buffer: Buffer
    work: Work
    look: Look
    suspects: Suspects
    outage: Outage

    def __post_init__(self) -> None:
        super().__init__(name=f"runner-{self.number}", daemon=True)
        # The job that it runs now, or ran last.
        self.running: HeldJob | None = None

    def run(self) -> None:
        """Work until the process stops claiming."""
        buffer = self.buffer
        task = buffer.next()
        while task is not None:
            if isinstance(task, HeldJob):
                ended = self._run_job(task)
                task = buffer.next(ended, seconds=time.monotonic() - (task.began_at or 0.0))
            else:
                self._make_round_trip(task)
                task = buffer.next()

    def _run_job(self, running: HeldJob) -> Ended:
        self.running = running
        return self.work.run(running)

    def _make_round_trip(self, round_trip: RoundTrip) -> None:
        """While holding the buffer's place: run suspects, or settle, claim, and wait where there is no work."""
        is_away = True
        try:
            if self.suspects.due.is_set():
                self.suspects.run(round_trip.ended, self._run_job)
                is_away = False
            else:
                is_away = self.look.look(round_trip)
        finally:
            self.buffer.done(leaving=is_away)
        if is_away:
            # Not while holding the place, which the settler may want meanwhile.
            self.outage.pause()
            self.outage.wait_until_over()


@dataclass(frozen=True, slots=True)
class Work:
    """Runs claimed jobs, each in the calling thread."""

    kinds: Mapping[str, Kind]
    children: Children
    lease: Lease
    stopping: threading.Event
    tally: Tally

    def run(self, running: HeldJob) -> Ended:
        """Run a claimed job, unless it is to be given back, and return how it ended."""
        job = running.job
        # The ids differ when this process was declared dead after the claim and has registered anew: the job is lost.
        if self.stopping.is_set() or running.context.cancelled or self.lease.worker_id != job.worker_id:
            running.has_ended = True
            return Ended(running, Outcome.give_back())
        kind = self.kinds.get(job.kind)
        if kind is not None and kind.isolated and not self.children.take_place():
            running.has_ended = True
            return Ended(running, Outcome.release(BUSY_SECONDS))
        running.began_at = began_at = time.monotonic()
        self.tally.started(running.label, running.waited_seconds)
        outcome = run_one(kind, running.context, self.children.run)
        running.has_ended = True
        running.seconds = time.monotonic() - began_at
        return Ended(running, outcome)


@dataclass(frozen=True, slots=True)
class Look:
    """How a thread that has the buffer's place finds work; each thread has its own, since each wait keeps state."""

    settle_and_claim: SettleAndClaim
    scanner: Scanner
    waiting: Waiting
    buffer: Buffer
    marks: Marks
    bell: Bell
    outage: Outage

    def look(self, round_trip: RoundTrip) -> bool:
        """Settle and claim, and wait for work where there is none; True when the database is away."""
        self.bell.heed()
        try:
            # Claim before scanning: the next job mostly lies behind a known mark, and a scan would only delay it.
            claimed = self.settle_and_claim.make(round_trip)
            is_new_seen = claimed == 0 and self.marks.is_scan_of_new_due()
            if is_new_seen and self.scanner.scan_new():
                claimed = self.settle_and_claim.make(self.buffer.round_trip())
            has_scanned = claimed is not None and self.marks.is_scan_due()
            if has_scanned and self._scan() and not claimed:
                claimed = self.settle_and_claim.make(self.buffer.round_trip())
            if claimed is None:
                return True
            if claimed:
                self.waiting.end()
            elif self.buffer.is_empty():
                is_all_seen = has_scanned and not self.marks.is_going_round
                self.waiting.wait(is_all_seen=is_all_seen, is_new_seen=is_new_seen or has_scanned)
        except (DatabaseUnavailable, Refusal) as error:
            self.outage.failed(error)
            return True
        return False

    def _scan(self) -> bool:
        """Scan the lanes, and tell whether a job is due."""
        self.scanner.scan()
        if not self.marks.has_due:
            # No claim follows if no lane has a due job, so the scan counts as the database's answer.
            self.bell.answered()
        return self.marks.has_due
