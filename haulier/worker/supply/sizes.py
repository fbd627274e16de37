"""How many jobs are claimed at once, and how much one call to the database carries."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from haulier.domain.job import Job
from haulier.queue.claims.claim import MOST_BYTES

# How much work is claimed ahead, and how long an outcome may wait to be settled.
WINDOW_SECONDS = 0.05
# Work for the time that a claim is under way is claimed ahead too, for this long at most: the shortest of some recent
# claims, which is the distance of the database. Without it, jobs of 20 ms ran at half of the rate at 50 ms.
MOST_DISTANCE_SECONDS, RECENT_CLAIMS = 0.25, 8
# A larger claim gains nothing: at 1,000 jobs the round trip is 3 % of the cost.
MOST_AT_ONCE = 1000
# Two claims: a process that runs no-op jobs starts the jobs of one while it makes the next, and never waits.
MOST_AHEAD = 2 * MOST_AT_ONCE
# A job shorter than this is left to the thread that already runs: waking another one takes as long as the job.
QUICK_SECONDS = 0.001
# The duration assumed for a kind that has never run here: too slow to be claimed ahead.
UNKNOWN_SECONDS = 1.0
# The weight of a new run. The mean is geometric: one job of 30 s among thousands of 5 ms moves it little.
NEW_WEIGHT = 0.05
LEAST_SECONDS = 1e-5
# A call that fails after more than the first of these was too large; if it succeeds within the second, the next may be
# larger.
SLOW_CALL_SECONDS, QUICK_CALL_SECONDS = 5.0, 2.0


class ClaimSize:
    """The usual duration of each kind, and of the mix that is claimed now. Callers hold one lock around every call."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._of_kind: dict[str, float] = {}
        self._of_all = math.log(UNKNOWN_SECONDS)
        # How many jobs of a claim could recently be kept. The mean hides a few slow jobs among many quick ones.
        self._fits = MOST_AHEAD
        self._answered_in: deque[float] = deque(maxlen=RECENT_CLAIMS)

    @property
    def window(self) -> float:
        """Return for how long work is claimed ahead. Units: seconds."""
        return WINDOW_SECONDS + min(self._answered_in, default=0.0)

    def answered(self, seconds: float) -> None:
        """Note how long a claim took to be answered."""
        self._answered_in.append(min(seconds, MOST_DISTANCE_SECONDS))

    def ran(self, kind: str, seconds: float) -> None:
        """Note a run that has ended."""
        new, old = math.log(max(seconds, LEAST_SECONDS)), self._of_kind.get(kind)
        self._of_kind[kind] = new if old is None else old + NEW_WEIGHT * (new - old)

    def seconds(self, kind: str) -> float:
        """Return how long a job of this kind usually takes."""
        mean = self._of_kind.get(kind)
        return UNKNOWN_SECONDS if mean is None else math.exp(mean)

    def is_quick(self, kind: str) -> bool:
        """Return whether a job of this kind usually ends before another thread would have woken."""
        return self.seconds(kind) <= QUICK_SECONDS

    def ahead(self) -> int:
        """Return how many jobs to hold ahead: as many as run within the window, none if they are slow."""
        window = self.window
        if self._of_all > math.log(window):
            return 0
        return min(self._fits, int(self._threads * window / math.exp(self._of_all)))

    def fitting(self, jobs: Sequence[Job], *, free: int) -> int:
        """Return how many of these jobs to keep, from the first: for free threads, and as many as start in time.

        The next claim is expected to bring the same mix of kinds.
        """
        kinds = [job.kind for job in jobs]
        of_kind = {kind: self.seconds(kind) for kind in set(kinds)}
        kept = len(jobs)
        if kept > free:
            shares = {kind: min(seconds, UNKNOWN_SECONDS) / self._threads for kind, seconds in of_kind.items()}
            begins = list(accumulate(map(shares.__getitem__, kinds[free:])))
            # Twice the window, because no rate is even, and each job that is given back costs two writes.
            kept = free + bisect_right(begins, 2 * self.window)
        # Halved at most, so that one slow job among thousands changes little.
        self._fits = max(1, kept, self._fits // 2) if kept < len(jobs) else min(MOST_AHEAD, 2 * self._fits)
        if jobs:
            new = sum(kinds.count(kind) * math.log(seconds) for kind, seconds in of_kind.items()) / len(jobs)
            weight = 1 - (1 - NEW_WEIGHT) ** len(jobs)
            self._of_all += weight * (new - self._of_all)
        return kept


class CallSize:
    """How many jobs to claim, and to settle, at once.

    The number follows the size of recent jobs; it is halved when a call is refused or does not end in time, and doubled
    again call by call. Two threads may call it: a number lost between them is noted again by the next call.
    """

    def __init__(self) -> None:
        self._most = MOST_AT_ONCE
        self._mean_bytes = 1.0

    @property
    def jobs(self) -> int:
        """Return how many jobs a call may carry."""
        return max(1, min(self._most, int(MOST_BYTES / self._mean_bytes)))

    @property
    def is_halved(self) -> bool:
        """Return whether a call failed recently; then settles and claims are sent apart, so that each can succeed."""
        return self._most < MOST_AT_ONCE

    def succeeded(self, seconds: float) -> None:
        """Note a call that was answered."""
        if self._most < MOST_AT_ONCE and seconds <= QUICK_CALL_SECONDS:
            self._most = min(MOST_AT_ONCE, 2 * self._most)

    def failed(self, jobs: int, seconds: float) -> None:
        """Note a call for this many jobs that got no answer; if it failed soon, it was cut off and not too large."""
        if seconds >= SLOW_CALL_SECONDS:
            self.refused(jobs)

    def refused(self, jobs: int) -> None:
        """Note a call for this many jobs that was refused."""
        self._most = max(1, jobs // 2)

    def brought(self, jobs: int, size: int) -> None:
        """Note how many bytes the jobs of a claim held; a larger mean counts at once, a smaller one gradually."""
        if jobs:
            mean = max(1.0, size / jobs)
            self._mean_bytes = max(mean, (self._mean_bytes + mean) / 2)
