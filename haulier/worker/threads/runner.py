"""The thread that does the work: claim, run, settle, with an Outcome between the last two."""

from __future__ import annotations

import logging
import threading
import time

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.domain.outcome import Outcome
from haulier.worker.isolation.children import BUSY_SECONDS
from haulier.worker.shared.buffer import Ended, RoundTrip
from haulier.worker.shared.held import HeldJob
from haulier.worker.station import Station
from haulier.worker.steps.execute import run_one
from haulier.worker.steps.scan import scan
from haulier.worker.steps.settle_and_claim import claim_suspect, settle_and_claim

# When a due job could not be had (somebody is just claiming it), the next look follows at once, then ever later.
FIRST_PAUSE_SECONDS = 0.02
# After a failed call: the database comes back within a second of its return.
AWAY_PAUSE_SECONDS = 0.5
# A run of suspects ends after this long, so that the other jobs get their turn.
SUSPECTS_SECONDS = 5.0
# While the process waits to be alone, what the others end is settled so often.
ALONE_CHECK_SECONDS = 0.05

log = logging.getLogger(__name__)


class Runner(threading.Thread):
    """Runs one job after the other; when the buffer runs low it exchanges for all, until the process stops."""

    def __init__(self, station: Station, number: int) -> None:
        super().__init__(name=f"runner-{number}", daemon=True)
        self._station = station
        self._pause = FIRST_PAUSE_SECONDS
        # What it runs now, or ran last.
        self.running: HeldJob | None = None

    def run(self) -> None:
        """Work until the process stops claiming."""
        buffer = self._station.buffer
        try:
            task = buffer.next()
            while task is not None:
                if isinstance(task, HeldJob):
                    ended = self.work(task)
                    task = buffer.next(ended, seconds=time.monotonic() - (task.began_at or 0.0))
                else:
                    self._make_round_trip(task)
                    task = buffer.next()
        finally:
            self._station.database.close()

    def work(self, running: HeldJob) -> Ended:
        """Run a claimed job, unless it is to be given back, and return how it ended."""
        station, job = self._station, running.job
        # Not our own any more, too, when this process was declared dead since the claim, and has registered anew.
        if station.stopping.is_set() or running.context.cancelled or station.lease.worker_id != job.worker_id:
            running.has_ended = True
            return Ended(running, Outcome.give_back())
        kind = station.kinds.get(job.kind)
        if kind is not None and kind.isolated and not station.children.take_place():
            running.has_ended = True
            return Ended(running, Outcome.release(BUSY_SECONDS))
        self.running = running
        running.began_at = began_at = time.monotonic()
        station.tally.started(running.label, running.waited_seconds)
        outcome = run_one(kind, running.context, station.children.run)
        running.has_ended = True
        running.seconds = time.monotonic() - began_at
        return Ended(running, outcome)

    def _make_round_trip(self, round_trip: RoundTrip) -> None:
        """With the buffer's place: see to suspects, settle, claim, and wait for work where there is none."""
        station, is_away = self._station, True
        try:
            is_away = self._run_suspects(round_trip) if station.suspects_due.is_set() else self._look(round_trip)
        finally:
            station.buffer.done(leaving=is_away)
        if is_away:
            # Without the place: another thread's connection may be good.
            station.closing.wait(AWAY_PAUSE_SECONDS)
            station.outage.wait_until_over(AWAY_PAUSE_SECONDS, station.config.worker_threads)

    def _look(self, round_trip: RoundTrip) -> bool:
        """Settle and claim; True when the database is away."""
        station = self._station
        station.bell.heed()
        try:
            # Before a scan, which would only delay it: the next job of a known lane lies behind the mark.
            claimed = settle_and_claim(station, round_trip, claiming=True)
            has_scanned = claimed is not None and station.marks.is_scan_due()
            if has_scanned:
                self._scan()
                if not claimed and station.marks.has_due:
                    claimed = settle_and_claim(station, station.buffer.round_trip(), claiming=True)
            if claimed is None:
                return True
            if claimed:
                self._pause = FIRST_PAUSE_SECONDS
                self._awake()
            elif station.buffer.is_empty():
                is_over = has_scanned and not station.marks.is_going_round
                self._wait(station.config.poll_seconds if is_over else station.marks.seconds_until_scan())
        except (DatabaseUnavailable, Refusal) as error:
            station.outage.failed(error)
            return True
        return False

    def _scan(self) -> None:
        station = self._station
        scan(station)
        if not station.marks.has_due:
            # A claim may not even be tried: there is no lane yet.
            station.bell.answered()

    def _awake(self) -> None:
        station = self._station
        if not station.sleeper.works() and station.marks.is_short:
            return
        with station.database.connection() as conn:
            station.sleeper.awake(conn)
            if not station.marks.is_short:
                station.sleeper.share(conn)

    def _wait(self, longest: float) -> None:
        station = self._station
        if station.stopping.is_set() or station.suspects_due.is_set():
            return
        if station.lease.worker_id is None:
            station.bell.wait(AWAY_PAUSE_SECONDS)
            return
        with station.database.connection() as conn:
            station.sleeper.fall_asleep(conn)
        longest, due = min(longest, station.sleeper.next_pause()), station.marks.seconds_until_due()
        if due is not None and due <= 0:
            # Somebody else is just claiming it, or is to let go of it.
            due, self._pause = self._pause, min(station.config.poll_seconds, 2 * self._pause)
        station.bell.wait(longest if due is None else min(longest, due))

    def _run_suspects(self, round_trip: RoundTrip) -> bool:
        """Run the jobs that have crashed before, each with nothing else in the process; True when the database is away.

        The caller has the place, so that nobody claims meanwhile; the others finish what they run. Where that takes too
        long the place is given up for a while, and next time more patience is shown.
        """
        station = self._station
        station.buffer.put_back(round_trip.ended)
        station.suspects_due.clear()
        if not station.patience.is_ready():
            return False
        station.bell.is_reserved = True
        try:
            station.marks.given_back([running.job for running in station.buffer.empty()])
            if self._wait_until_alone(station.patience.seconds):
                station.patience.rewarded()
                until = time.monotonic() + SUSPECTS_SECONDS
                while time.monotonic() < until and (running := claim_suspect(station)):
                    station.buffer.add(self.work(running))
                    if not self._wait_until_alone(SUSPECTS_SECONDS):
                        break
            elif not station.stopping.is_set():
                station.patience.exhausted()
        finally:
            station.bell.is_reserved = False
        return False

    def _wait_until_alone(self, seconds: float) -> bool:
        station, until = self._station, time.monotonic() + seconds
        while not station.stopping.is_set() and time.monotonic() < until:
            if settle_and_claim(station, station.buffer.round_trip(), claiming=False) is None:
                station.closing.wait(AWAY_PAUSE_SECONDS)
                # That the others have not ended is not to be seen while nothing can be settled.
                until = time.monotonic() + seconds
            elif station.held.wait_until_alone(ALONE_CHECK_SECONDS):
                return True
        return False
