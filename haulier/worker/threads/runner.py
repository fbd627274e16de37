"""The thread that claims, runs and settles jobs; between a run and its settle stands an Outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.domain.outcome import Outcome
from haulier.kinds import Kind
from haulier.worker.isolation.children import BUSY_SECONDS, Children
from haulier.worker.lanes import Lanes
from haulier.worker.lanes.scan import Scanner
from haulier.worker.link import Link
from haulier.worker.link.lease import Lease
from haulier.worker.link.outage import AWAY_PAUSE_SECONDS
from haulier.worker.metrics.counts import Tally
from haulier.worker.steps.execute import run_one
from haulier.worker.steps.settle_and_claim import SettleAndClaim
from haulier.worker.steps.suspects import Suspects
from haulier.worker.supply.buffer import Buffer, Ended, RoundTrip
from haulier.worker.supply.held import HeldJob

# The first pause if a due job cannot be claimed, because another worker is just claiming it; doubled each time.
FIRST_PAUSE_SECONDS = 0.02


@dataclass(eq=False, repr=False, kw_only=True)
class Runner(threading.Thread):
    """Runs one job after the other until the process stops; if the buffer is low it calls the database for all."""

    number: int
    buffer: Buffer
    lanes: Lanes
    link: Link
    work: Work
    settle_and_claim: SettleAndClaim
    look: Look
    suspects: Suspects

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
        """While holding the buffer's place: run suspects, or settle and claim, and look further if no job came."""
        claim, look, is_away = self.settle_and_claim.make, self.look, True
        try:
            if self.lanes.suspects_due.is_set():
                self.suspects.run(round_trip.ended, self._run_job)
                is_away = False
            else:
                self.link.bell.clear()
                # Claim before scanning: the next job mostly lies behind a known mark, and a scan would only delay it.
                claimed = claim(round_trip)
                if claimed == 0 and look.sees_new_jobs():
                    claimed = claim(self.buffer.round_trip())
                if claimed is not None and look.sees_due_lanes() and not claimed:
                    claimed = claim(self.buffer.round_trip())
                is_away = claimed is None
                if claimed:
                    look.share()
                elif not is_away and self.buffer.is_empty():
                    look.wait()
        except (DatabaseUnavailable, Refusal) as error:
            self.link.outage.failed(error)
        finally:
            self.buffer.done(leaving=is_away)
        if is_away:
            # Not while holding the place, which the settler may want meanwhile.
            self.link.outage.pause()
            self.link.outage.wait_until_over()


@dataclass(frozen=True, slots=True)
class Work:
    """Runs claimed jobs, each in the calling thread."""

    kinds: Mapping[str, Kind]
    children: Children
    lease: Lease
    stopping: threading.Event
    tally: Tally

    def run(self, running: HeldJob) -> Ended:
        """Run a claimed job and return how it ended; give it back unstarted if the process stops or has lost it."""
        job = running.job
        # The ids differ if this process was declared dead after the claim and has registered again: the job is lost.
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


@dataclass(slots=True, kw_only=True)
class Look:
    """How the thread that has the buffer's place looks further after a claim, and waits if there is no work.

    Each thread has its own, because the pauses grow from wait to wait.
    """

    scanner: Scanner
    lanes: Lanes
    link: Link
    stopping: threading.Event
    poll_seconds: float
    # Whether the new jobs, and the lanes, were scanned after the last claim.
    has_seen_new: bool = field(default=False, init=False)
    has_seen_lanes: bool = field(default=False, init=False)
    _pause: float = field(default=FIRST_PAUSE_SECONDS, init=False)

    def sees_new_jobs(self) -> bool:
        """Scan the new jobs if that is due, and return whether one is due now. Raises: DatabaseUnavailable; Refusal."""
        self.has_seen_new = self.lanes.marks.is_scan_of_new_due()
        return self.has_seen_new and self.scanner.scan_new()

    def sees_due_lanes(self) -> bool:
        """Scan the lanes if that is due, and return whether any has a due job. Raises: DatabaseUnavailable; Refusal."""
        marks = self.lanes.marks
        self.has_seen_lanes = marks.is_scan_due()
        if self.has_seen_lanes:
            self.scanner.scan()
            if not marks.has_due:
                # No claim follows if no lane has a due job, so the scan counts as the database's answer.
                self.link.claim_answered()
        return self.has_seen_lanes and marks.has_due

    def share(self) -> None:
        """Note that there is work: stop asking to be woken, and wake others if there is more than was claimed.

        Raises: DatabaseUnavailable; Refusal.
        """
        self._pause = FIRST_PAUSE_SECONDS
        sleeper, is_short = self.link.sleeper, self.lanes.marks.is_short
        if not sleeper.works() and is_short:
            return
        with self.scanner.database.connection() as conn:
            sleeper.awake(conn)
            if not is_short:
                sleeper.share(conn)

    def wait(self) -> None:
        """Wait until the bell rings or it is time to look again: after POLL_SECONDS if a scan has just seen all lanes.

        Otherwise until the next scan: the one of the new jobs, unless they have just been seen.

        Raises: DatabaseUnavailable; Refusal.
        """
        link, marks = self.link, self.lanes.marks
        is_all_seen = self.has_seen_lanes and not marks.is_going_round
        longest = self.poll_seconds if is_all_seen else marks.seconds_until_scan()
        if not self.has_seen_new and not self.has_seen_lanes:
            longest = min(longest, marks.seconds_until_scan_of_new())
        if self.stopping.is_set() or self.lanes.suspects_due.is_set():
            return
        if link.lease.worker_id is None:
            link.bell.wait(AWAY_PAUSE_SECONDS)
            return
        with self.scanner.database.connection() as conn:
            link.sleeper.fall_asleep(conn)
        longest, due = min(longest, link.sleeper.next_pause()), marks.seconds_until_due()
        if due is not None and due <= 0:
            # Another worker is just claiming that job, or has locked it for a moment.
            due, self._pause = self._pause, min(self.poll_seconds, 2 * self._pause)
        link.bell.wait(longest if due is None else min(longest, due))
