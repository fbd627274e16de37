"""How much one call to the database carries, so that it ends in time, and fits into memory, whatever the jobs hold."""

from __future__ import annotations

from haulier.queue.consume.claim import MOST_BYTES
from haulier.worker.shared.claim_size import MOST_AT_ONCE

# A call that fails after the first of these was too large; after one that takes at most the second, the next may be
# larger.
SLOW_SECONDS, QUICK_SECONDS = 5.0, 2.0


class CallSize:
    """How many jobs to claim, and to settle, at once. One thread at a time.

    The number follows the size of recent jobs; it is halved when a call is refused or does not end in time, and doubled
    again call by call.
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
        """Tell whether a call has failed lately; settles and claims then go apart, so that neither fails the other."""
        return self._most < MOST_AT_ONCE

    def succeeded(self, seconds: float) -> None:
        """Note a call that was answered."""
        if self._most < MOST_AT_ONCE and seconds <= QUICK_SECONDS:
            self._most = min(MOST_AT_ONCE, 2 * self._most)

    def failed(self, jobs: int, seconds: float) -> None:
        """Note a call for this many jobs that got no answer; one that failed soon was cut off and was not too large."""
        if seconds >= SLOW_SECONDS:
            self.refused(jobs)

    def refused(self, jobs: int) -> None:
        """Note a call for this many jobs that was refused."""
        self._most = max(1, jobs // 2)

    def brought(self, jobs: int, size: int) -> None:
        """Note how many bytes the jobs of a claim held; a larger mean counts at once, a smaller one gradually."""
        if jobs:
            mean = max(1.0, size / jobs)
            self._mean_bytes = max(mean, (self._mean_bytes + mean) / 2)
