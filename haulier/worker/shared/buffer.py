"""What the threads of a process share between two calls to the database: jobs to start, and runs to settle."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from haulier.domain.outcome import Outcome
from haulier.queue.consume.claim import MOST_BYTES
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.call_size import CallSize
from haulier.worker.shared.claim_size import MOST_AT_ONCE, WINDOW_SECONDS, ClaimSize
from haulier.worker.shared.held import HeldJob
from haulier.worker.shared.shutdown import Shutdown

# How often a waiting thread looks whether the process stops.
STOP_CHECK_SECONDS = 0.25


class Ended(NamedTuple):
    """A run that is over, or a job that is given back unstarted: what is still to be settled."""

    running: HeldJob
    outcome: Outcome

    @property
    def size(self) -> int:
        """Return how much text is sent to settle it."""
        return len(self.outcome.result or "") + len(self.outcome.error or "")


class RoundTrip(NamedTuple):
    """The right to call the database for all, which must be given back, and what there is to call for.

    Shape: at most `limit` jobs are to be claimed, and `free` threads, the caller's among them, would start one at once.
    """

    ended: list[Ended]
    limit: int
    free: int


class Buffer:
    """Jobs that are claimed and not started, runs that have ended and are not settled, and the place to call for them.

    Whoever has the place is the only one to call the database for all: it settles what has ended and claims what can be
    started, in one round trip. The others go on with what is there, and what they end meanwhile makes the next batch.
    """

    def __init__(self, claim_size: ClaimSize, call_size: CallSize, bell: Bell, shutdown: Shutdown) -> None:
        self._claim_size, self._call_size = claim_size, call_size
        self._bell = bell
        self._stopping, self._closing = shutdown.stopping, shutdown.closing
        # Taken as it is: the way in through the condition is two more calls, for which a lone job waits.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ready: deque[HeldJob] = deque()
        self._ended: list[Ended] = []
        self._ended_bytes = 0
        self._doubtful: list[Ended] = []
        self._idle = 0
        self._running = 0
        # Somebody has the place.
        self._is_taken = False
        # A thread waits to be alone with a suspect, or is: nobody is free to claim.
        self.is_reserved = False
        self._refill_at = 0
        # A claim locks all that it asks for and leaves the surplus: of last attempts it takes those that start at once.
        self._only_lasts = False
        self._taken_at = self._ended_at = time.monotonic()
        # There is something that may come to wait too long.
        self.stirred = threading.Event()

    # For runners

    def next(self, ended: Ended | None = None, *, seconds: float = 0.0) -> HeldJob | RoundTrip | None:
        """Hand in what the caller has just run, and return its next job or round trip; None when it is to leave.

        Units: seconds is how long the run took.
        """
        with self._lock:
            if ended is not None:
                self._running -= 1
                if ended.running.began_at is not None:
                    self._claim_size.ran(ended.running.job.kind, seconds)
                self._hand_in(ended)
            while True:
                if not self._is_taken and self._is_due():
                    self._is_taken = True
                    if self._ready:
                        self._changed.notify()
                    return self._round_trip()
                if self._ready:
                    return self._start()
                if self._stopping.is_set() and (not self._ended or self._closing.is_set()):
                    return None
                self._idle += 1
                try:
                    self._changed.wait(STOP_CHECK_SECONDS)
                finally:
                    self._idle -= 1

    def _is_due(self) -> bool:
        if self._stopping.is_set():
            return bool(self._ended) and not self._closing.is_set()
        if self._is_low() or self._ended_bytes > MOST_BYTES:
            return True
        # Before a long run, or none knows when the outcome of the last will be settled.
        return bool(self._ended) and (not self._claim_size.is_quick(self._ready[0].job.kind) or self._is_overdue())

    def _is_low(self) -> bool:
        ready = len(self._ready)
        # In this order: most often the first two tell, and the third costs more than they do.
        return ready <= self._refill_at and (not ready or ready <= self._ahead() // 2)

    def _is_overdue(self) -> bool:
        return bool(self._ended) and time.monotonic() - self._ended_at > WINDOW_SECONDS

    def _start(self) -> HeldJob:
        running = self._ready.popleft()
        self._running += 1
        self._taken_at = time.monotonic()
        # One after the other: where jobs are quick there is none left for those that would be woken.
        if self._idle and (
            (self._ready and not self._claim_size.is_quick(running.job.kind)) or (not self._is_taken and self._is_due())
        ):
            self._changed.notify()
        return running

    def _hand_in(self, ended: Ended) -> None:
        if not self._ended:
            self._ended_at = time.monotonic()
        self._ended.append(ended)
        self._ended_bytes += ended.size
        # Whoever has the place may be waiting for work.
        if self._is_taken:
            self._bell.ring()
        if not self.stirred.is_set():
            self.stirred.set()

    # For whoever has the place

    def round_trip(self) -> RoundTrip:
        """Return what there is to call for now."""
        with self._lock:
            return self._round_trip()

    def _round_trip(self) -> RoundTrip:
        most = self._call_size.jobs
        batch = self._take_ended(most)
        room = self._idle + 1 - len(self._ready)
        # A last attempt goes before those that wait here: the caller, who is free right after, starts it.
        free = max(1, room)
        limit = min(most, free if self._only_lasts else max(0, room + self._ahead()))
        # What cannot be settled as fast as it ends must not grow for as long as there are jobs.
        if self._ended and (most < MOST_AT_ONCE or self._ended_bytes > MOST_BYTES):
            limit = 0
        return RoundTrip(batch, limit, free)

    def _ahead(self) -> int:
        return min(self._claim_size.ahead(), 2 * self._call_size.jobs)

    def _take_ended(self, most: int) -> list[Ended]:
        batch, self._ended = self._ended[:most], self._ended[most:]
        if self._ended_bytes > MOST_BYTES:
            within = bisect_left(list(accumulate(each.size for each in batch)), MOST_BYTES)
            # The one that reaches the bound is still taken.
            batch, self._ended = batch[: within + 1], batch[within + 1 :] + self._ended
        self._ended_bytes = sum([each.size for each in self._ended])
        return batch

    def done(self, *, leaving: bool = False) -> None:
        """Give the place back; a caller who does not come for a job right after says so, and another is woken."""
        with self._lock:
            self._is_taken = False
            if leaving:
                self._changed.notify()

    def put_back(self, batch: Sequence[Ended]) -> None:
        """Return what could not be settled, to be tried again."""
        with self._lock:
            self._ended[:0] = batch
            self._ended_bytes += sum([each.size for each in batch])
            if batch:
                # The settler may have seen none while the caller had it.
                self.stirred.set()

    def doubt(self, batch: Sequence[Ended]) -> None:
        """Leave to the settler what did not settle with the others."""
        if not batch:
            return
        with self._lock:
            self._doubtful.extend(batch)
            self.stirred.set()

    def fill(self, claimed: Sequence[HeldJob], *, free: int, is_short: bool) -> int:
        """Take up what was claimed; return how many of it, from the end, are given back because they would wait."""
        with self._lock:
            fitting = self._claim_size.fitting([running.job for running in claimed], free=free)
            # Nothing is started any more, and one by one they would go back in as many calls.
            kept = 0 if self._stopping.is_set() else fitting
            lasts = [running for running in claimed if running.job.is_last_attempt]
            self._only_lasts = 0 < len(lasts) == len(claimed)
            # Where no more was to be had, what is here is run first.
            self._refill_at = 0 if is_short or self._only_lasts else self._ahead() // 2
            if not self._ready:
                self._taken_at = time.monotonic()
            starting = claimed[:kept]
            if lasts:
                # They must not wait: it might be for the end of another that takes the process with it.
                self._ready.extendleft(running for running in starting if running.job.is_last_attempt)
                starting = [running for running in starting if not running.job.is_last_attempt]
            self._ready.extend(starting)
            self._give_back(claimed[kept:])
            if self._ready:
                self.stirred.set()
                # Quick jobs are left to the caller, who comes for one right after.
                if not self._claim_size.is_quick(self._ready[0].job.kind):
                    self._changed.notify()
            return len(claimed) - kept

    def _give_back(self, unstarted: Sequence[HeldJob]) -> None:
        for running in unstarted:
            running.has_ended = True
            self._hand_in(Ended(running, Outcome.give_back()))

    def empty(self) -> list[HeldJob]:
        """Give back, and return, every job that has not started."""
        with self._lock:
            unstarted = list(self._ready)
            self._ready.clear()
            self._give_back(unstarted)
            self._changed.notify_all()
            return unstarted

    # For the settler and the watch

    def take_place(self) -> bool:
        """Take the place if nobody has it."""
        with self._lock:
            if self._is_taken:
                return False
            self._is_taken = True
            return True

    def add(self, ended: Ended) -> None:
        """Hand in an outcome from a thread that runs no jobs."""
        with self._lock:
            self._hand_in(ended)
            self._changed.notify()

    def collect_doubtful(self) -> list[Ended]:
        """Take what is to be settled by itself."""
        with self._lock:
            batch, self._doubtful = self._doubtful, []
            return batch

    def has_any(self) -> bool:
        """Tell whether there is anything to start or to settle."""
        with self._lock:
            return bool(self._ready or self._ended or self._doubtful)

    def is_empty(self) -> bool:
        """Tell whether no job is left to start."""
        return not self._ready

    def is_overdue(self) -> bool:
        """Tell whether an outcome waits too long to be settled."""
        with self._lock:
            return self._is_overdue()

    def stands_still(self, seconds: float) -> bool:
        """Tell whether jobs wait here to be started, and none was started for so long."""
        with self._lock:
            return bool(self._ready) and time.monotonic() - self._taken_at > seconds

    @property
    def running(self) -> int:
        """Return how many threads run a job."""
        return self._running

    def is_busy(self, threads: int) -> bool:
        """Tell whether none of so many threads is free for a job."""
        return self._running >= threads or self.is_reserved
