"""How long jobs take here, and from that how many to claim at once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from haulier.domain.job import Job

# How much work is claimed ahead, and how long an outcome may wait to be settled.
WINDOW_SECONDS = 0.05
# A larger claim gains nothing: at 1,000 jobs the round trip is 3 % of the batch's cost.
MOST_AT_ONCE = 1000
# Two claims: with one of them to start while the next is made, a process that runs no-op jobs never waits.
MOST_AHEAD = 2 * MOST_AT_ONCE
# A job shorter than this is left to the thread that is already running: waking another takes as long as the job.
QUICK_SECONDS = 0.001
# The duration assumed for a kind that has never run here: too slow to be claimed ahead.
UNKNOWN_SECONDS = 1.0
# The weight of a new run. The mean is geometric: one job of 30 s among thousands of 5 ms moves it little.
NEW_WEIGHT = 0.05
LEAST_SECONDS = 1e-5


class ClaimSize:
    """The usual duration of each kind, and of the mix that is claimed now. Callers hold one lock around every call."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._of_kind: dict[str, float] = {}
        self._of_all = math.log(UNKNOWN_SECONDS)
        # How many jobs of a claim could lately be kept. The mean alone hides the slow jobs among many quick ones.
        self._fits = MOST_AHEAD

    def ran(self, kind: str, seconds: float) -> None:
        """Note a run that has ended."""
        new, old = math.log(max(seconds, LEAST_SECONDS)), self._of_kind.get(kind)
        self._of_kind[kind] = new if old is None else old + NEW_WEIGHT * (new - old)

    def seconds(self, kind: str) -> float:
        """Return how long a job of this kind usually takes."""
        known = self._of_kind.get(kind)
        return UNKNOWN_SECONDS if known is None else math.exp(known)

    def is_quick(self, kind: str) -> bool:
        """Tell whether such a job is usually over before another thread would have woken."""
        return self.seconds(kind) <= QUICK_SECONDS

    def ahead(self) -> int:
        """Return how many jobs to hold beside those that run: as many as run within the window, none if slow."""
        if self._of_all > math.log(WINDOW_SECONDS):
            return 0
        return min(self._fits, int(self._threads * WINDOW_SECONDS / math.exp(self._of_all)))

    def fitting(self, jobs: Sequence[Job], *, free: int) -> int:
        """Return how many of these, in their order, to keep: those for free threads, and as many as start in time.

        The next claim is expected to bring the same mix of kinds.
        """
        kinds = [job.kind for job in jobs]
        of_kind = {kind: self.seconds(kind) for kind in set(kinds)}
        kept = len(jobs)
        if kept > free:
            shares = {kind: min(seconds, UNKNOWN_SECONDS) / self._threads for kind, seconds in of_kind.items()}
            begins = list(accumulate(map(shares.__getitem__, kinds[free:])))
            # Twice the window, because no rate is quite even, and each job that is given back costs two writes.
            kept = free + bisect_right(begins, 2 * WINDOW_SECONDS)
        # Halved at most, so that one slow job among thousands is not taken for the rule.
        self._fits = max(1, kept, self._fits // 2) if kept < len(jobs) else min(MOST_AHEAD, 2 * self._fits)
        if jobs:
            new = sum(kinds.count(kind) * math.log(seconds) for kind, seconds in of_kind.items()) / len(jobs)
            weight = 1 - (1 - NEW_WEIGHT) ** len(jobs)
            self._of_all += weight * (new - self._of_all)
        return kept
