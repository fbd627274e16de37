"""The buffer between the threads of a process and the database: jobs to start, and runs to settle."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

from haulier.domain.outcome import Outcome
from haulier.queue.claims.claim import MOST_BYTES
from haulier.worker.link.sleeper import Bell
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import MOST_AHEAD, MOST_AT_ONCE, WINDOW_SECONDS, CallSize, ClaimSize

# A job is given back instead of started if the database has not said for this long, by its claim or later, that the
# queue is not paused: a second after a pause no job of the queue may start, whether or not a notification comes. While
# jobs wait here the heartbeat asks more often, so that none goes back only because the jobs before it took long.
UNPAUSED_SECONDS = 0.9
# But a job is not given back this soon after the answer to its claim, or slow claims would bring no job to run.
LEAST_WAIT_SECONDS = 0.5
# How often a waiting thread looks whether the process stops.
STOP_CHECK_SECONDS = 0.25
# While at least this many quick jobs are held ahead, the settler settles beside the claims: two calls at the same time
# are answered sooner than one for both. If fewer are, one round trip for both costs less.
BESIDE = MOST_AT_ONCE // 2
# With more outcomes than this to settle, nothing is claimed: settles are slower than runs, and memory would fill.
MOST_ENDED = 2 * MOST_AHEAD


class Ended(NamedTuple):
    """A run that is over, or a job that is given back unstarted, still to be settled."""

    running: HeldJob
    outcome: Outcome

    @property
    def size(self) -> int:
        """Return how many characters a settle of this run sends."""
        return len(self.outcome.result or "") + len(self.outcome.error or "")


class RoundTrip(NamedTuple):
    """What one call to the database is to settle and claim. The thread that gets it has the place, and gives it back.

    Claim at most `limit` jobs; `free` threads, the caller's among them, would start one at once.
    """

    ended: list[Ended]
    limit: int
    free: int


class Buffer:
    """Jobs that are claimed and not started, runs that have ended and are not settled, and the place.

    The place is the right to call the database for all threads; one thread at a time has it. In one round trip it
    settles the runs that have ended and claims jobs to start. Meanwhile the other threads run jobs from the buffer, and
    the runs that they end make the next batch. While many quick jobs wait the settler takes that batch instead, and
    the place only claims.
    """

    def __init__(
        self,
        claim_size: ClaimSize,
        call_size: CallSize,
        bell: Bell,
        shutdown: Shutdown,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._claim_size, self._call_size = claim_size, call_size
        self._bell = bell
        self._stopping, self._closing = shutdown.stopping, shutdown.closing
        # Used directly: through the condition it takes two more calls, which delay a lone job.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ready: deque[HeldJob] = deque()
        self._ended: list[Ended] = []
        self._ended_bytes = 0
        self._doubtful: list[Ended] = []
        self._idle = 0
        self._running = 0
        # True while a thread has the place.
        self._is_taken = False
        # True while the settler settles beside the place.
        self._is_settling = False
        # True while a thread waits to run a suspect by itself, or runs one: no thread is free for other jobs.
        self.is_reserved = False
        self._refill_at = 0
        # True if the last claim brought only last attempts. A claim locks all jobs that it asks for, but takes only as
        # many last attempts as can start at once: asking for more would lock jobs for nothing.
        self._only_lasts = False
        self._taken_at = self._ended_at = self._clock()
        # Wakes the settler: there is a job or an outcome that may have to wait too long.
        self.stirred = threading.Event()

    # For runners

    def next(self, ended: Ended | None = None, *, seconds: float = 0.0) -> HeldJob | RoundTrip | None:
        """Hand in the caller's last run, and return its next job or round trip; None if the caller is to end.

        Units: seconds is how long the run took.
        """
        with self._lock:
            if ended is not None:
                self._running -= 1
                if ended.running.began_at is not None:
                    self._claim_size.ran(ended.running.job.kind, seconds)
                self._hand_in(ended)
            while True:
                self._give_back_late()
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

    def _give_back_late(self) -> None:
        if not self._ready:
            return
        now = self._clock()
        # Look at the first only: a late job behind a job that may still start is seen when that one has started.
        if self._ready[0].start_by < now:
            late = [running for running in self._ready if running.start_by < now]
            self._ready = deque(running for running in self._ready if running.start_by >= now)
            self._give_back(late)

    def _is_due(self) -> bool:
        if self._is_settling:
            return self._is_low() and self._may_claim() and not self._stopping.is_set()
        if self._stopping.is_set():
            return bool(self._ended) and not self._closing.is_set()
        if self._is_low() or self._ended_bytes > MOST_BYTES:
            return True
        # Settle before a long run starts: otherwise the outcomes so far would wait for the settler.
        return bool(self._ended) and (
            self._is_overdue() or not (self._claim_size.is_quick(self._ready[0].job.kind) or self._is_apart())
        )

    def _is_apart(self) -> bool:
        """Return whether the settler is to settle, and the place is for claims."""
        return self._refill_at >= BESIDE and self._may_claim()

    def _may_claim(self) -> bool:
        return not self._ended or (
            len(self._ended) <= MOST_ENDED and self._ended_bytes <= MOST_BYTES and self._call_size.jobs == MOST_AT_ONCE
        )

    def _is_low(self) -> bool:
        ready = len(self._ready)
        # In this order: mostly the first two comparisons decide, and the third costs more than both.
        return ready <= self._refill_at and (not ready or ready <= self._ahead() // 2)

    def _is_overdue(self) -> bool:
        return bool(self._ended) and self._clock() - self._ended_at > WINDOW_SECONDS

    def _start(self) -> HeldJob:
        running = self._ready.popleft()
        self._running += 1
        self._taken_at = self._clock()
        # Wake one idle thread and not all: quick jobs would be gone before the others are awake.
        if self._idle and (
            (self._ready and not self._claim_size.is_quick(running.job.kind)) or (not self._is_taken and self._is_due())
        ):
            self._changed.notify()
        return running

    def _hand_in(self, ended: Ended) -> None:
        if not self._ended:
            self._ended_at = self._clock()
        self._ended.append(ended)
        self._ended_bytes += ended.size
        # The thread that has the place may be waiting for work; the bell makes it settle this run.
        if self._is_taken:
            self._bell.ring()
        if not self.stirred.is_set():
            self.stirred.set()

    # For the thread that has the place

    def round_trip(self) -> RoundTrip:
        """Return what to settle and claim now."""
        with self._lock:
            return self._round_trip()

    def _round_trip(self) -> RoundTrip:
        most = self._call_size.jobs
        is_apart = self._is_settling or (self._is_apart() and not self._is_overdue())
        batch = [] if is_apart else self._take_ended(most)
        room = self._idle + 1 - len(self._ready)
        # At least 1: the caller is free right after the call, and starts a last attempt before the waiting jobs.
        free = max(1, room)
        limit = min(most, free if self._only_lasts else max(0, room + self._ahead()))
        if not self._may_claim():
            limit = 0
        return RoundTrip(batch, limit, free)

    def _ahead(self) -> int:
        return min(self._claim_size.ahead(), 2 * self._call_size.jobs)

    def _take_ended(self, most: int) -> list[Ended]:
        batch, self._ended = self._ended[:most], self._ended[most:]
        if self._ended_bytes > MOST_BYTES:
            within = bisect_left(list(accumulate(ended.size for ended in batch)), MOST_BYTES)
            # The outcome that reaches the bound is still taken.
            batch, self._ended = batch[: within + 1], batch[within + 1 :] + self._ended
        self._ended_bytes = sum([ended.size for ended in self._ended])
        return batch

    def done(self, *, leaving: bool = False) -> None:
        """Give the place back; with `leaving`, for a caller that does not take a job right after, wake a thread."""
        with self._lock:
            self._is_taken = False
            if leaving:
                self._changed.notify()

    def put_back(self, batch: Sequence[Ended]) -> None:
        """Return runs that could not be settled, to be retried."""
        with self._lock:
            self._ended[:0] = batch
            self._ended_bytes += sum([ended.size for ended in batch])
            if batch:
                # The settler may have seen nothing to do while the caller had the batch.
                self.stirred.set()

    def doubt(self, batch: Sequence[Ended]) -> None:
        """Leave to the settler runs that did not settle with the others."""
        if not batch:
            return
        with self._lock:
            self._doubtful.extend(batch)
            self.stirred.set()

    def fill(self, claimed: Sequence[HeldJob], *, free: int, is_short: bool, asked_at: float = float("-inf")) -> int:
        """Take in claimed jobs; return how many of them, from the end, are given back because they would wait.

        Units: asked_at is when their claim was sent, of the monotonic clock.
        """
        with self._lock:
            if asked_at > float("-inf"):
                self._claim_size.answered(self._clock() - asked_at)
            fitting = self._claim_size.fitting([running.job for running in claimed], free=free)
            # A stopping process starts nothing: keep none, or each would go back in its own call.
            kept = 0 if self._stopping.is_set() else fitting
            lasts = [running for running in claimed if running.job.is_last_attempt]
            self._only_lasts = 0 < len(lasts) == len(claimed)
            # After a short claim there is no more to claim: run the jobs that are here first.
            self._refill_at = 0 if is_short or self._only_lasts else self._ahead() // 2
            if not self._ready:
                self._taken_at = self._clock()
            starting = claimed[:kept]
            start_by = max(asked_at + UNPAUSED_SECONDS, self._clock() + LEAST_WAIT_SECONDS)
            for running in starting:
                running.start_by = start_by
            if lasts:
                # A last attempt must not wait behind another job, which may crash the process.
                self._ready.extendleft(running for running in starting if running.job.is_last_attempt)
                starting = [running for running in starting if not running.job.is_last_attempt]
            self._ready.extend(starting)
            self._give_back(claimed[kept:])
            if self._ready:
                self.stirred.set()
                # Quick jobs are left to the caller, which takes one right after.
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

    # For the heartbeat

    def look_for_paused(self, paused: Collection[str], *, asked_at: float) -> None:
        """Give back every job of these queues that has not started; jobs of other queues may wait on.

        Units: asked_at is when the database was asked which queues are paused, of the monotonic clock.
        """
        with self._lock:
            unstarted = [running for running in self._ready if running.job.queue in paused]
            if unstarted:
                self._ready = deque(running for running in self._ready if running.job.queue not in paused)
                self._give_back(unstarted)
                self._changed.notify()
            # Not for jobs that come in later: their claim may have read the pauses earlier.
            for running in self._ready:
                running.start_by = max(running.start_by, asked_at + UNPAUSED_SECONDS)

    # For the settler and the watch

    def take_place(self) -> bool:
        """Take the place if no thread has it, and return whether the caller has it now."""
        with self._lock:
            if self._is_taken:
                return False
            self._is_taken = True
            return True

    def is_piled(self) -> bool:
        """Return whether there is enough for a settle beside the claims at once."""
        return len(self._ended) >= BESIDE and self._is_apart()

    def begin_beside(self) -> list[Ended]:
        """Take the runs to settle beside the place until `end_beside`; none if the place is to settle them."""
        with self._lock:
            if not self._ended or not self._is_apart():
                return []
            self._is_settling = True
            batch, self._ended_at = self._take_ended(MOST_AT_ONCE), self._clock()
            return batch

    def end_beside(self) -> None:
        """Let the place settle again, and wake a thread for what had to wait for that."""
        with self._lock:
            self._is_settling = False
            self._changed.notify()

    def add(self, ended: Ended) -> None:
        """Hand in an outcome from a thread that runs no jobs."""
        with self._lock:
            self._hand_in(ended)
            self._changed.notify()

    def collect_doubtful(self) -> list[Ended]:
        """Take out the runs that did not settle with the others."""
        with self._lock:
            batch, self._doubtful = self._doubtful, []
            return batch

    def has_any(self) -> bool:
        """Return whether there is anything to start or to settle."""
        with self._lock:
            return bool(self._ready or self._ended or self._doubtful)

    def is_empty(self) -> bool:
        """Return whether no job is left to start."""
        return not self._ready

    def is_overdue(self) -> bool:
        """Return whether an outcome waits too long to be settled."""
        with self._lock:
            return self._is_overdue()

    def stands_still(self) -> bool:
        """Return whether jobs wait here to be started, and none has been started for twice the window.

        Then the jobs before them have turned out slow.
        """
        with self._lock:
            return bool(self._ready) and self._clock() - self._taken_at > 2 * self._claim_size.window

    @property
    def running(self) -> int:
        """Return how many threads run a job."""
        return self._running

    def is_busy(self, threads: int) -> bool:
        """Return whether none of this many threads is free for a job."""
        return self._running >= threads or self.is_reserved
