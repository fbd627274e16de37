"""Turns: which lane comes first if several have more jobs than one claim can take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from haulier.domain.claim import LaneName, Mark
from haulier.queue.rows import ClaimedJob

# What a job counts besides its text, in bytes: a small job costs the database as much as this much text of a large one.
JOB_BYTES = 1_000
# If more lanes than this have filled claims, those that did so longest ago are forgotten.
MOST_FULL = 512


class Turns:
    """How much each lane that lately filled a claim has taken: the lane that has taken least comes first.

    A lane that does not fill claims comes before all of them. Bytes are counted, not claims: a claim of a dozen large
    jobs can take the database longer than ten thousand small ones.
    """

    def __init__(self) -> None:
        # The lane that filled the latest claim is the last of the dict.
        self._taken: dict[LaneName, int] = {}

    def __bool__(self) -> bool:
        return bool(self._taken)

    def taken(self, lane: LaneName) -> int:
        """Return how much a lane has taken; 0 if it has not filled a claim."""
        return self._taken.get(lane, 0)

    def claimed(self, jobs: Sequence[ClaimedJob], *, is_short: bool, read: Sequence[Mark]) -> None:
        """Note a claim that read these lanes in this order.

        `jobs` are sorted by lane; is_short: no lane had more than was claimed.
        """
        if is_short or len(read) < 2:
            self._taken = {}
        elif jobs:
            # The last lane filled the claim; the lanes that were read before it had no more.
            full = _lane(jobs[-1])
            for lane in takewhile(lambda lane: lane != full, (mark.lane for mark in read)):
                self._taken.pop(lane, None)
            before = self._taken.pop(full) if full in self._taken else self._least(full)
            jobs_of_full = takewhile(lambda job: _lane(job) == full, reversed(jobs))
            self._taken[full] = before + sum(JOB_BYTES + job.text_size for job in jobs_of_full)
            if len(self._taken) > MOST_FULL:
                del self._taken[next(iter(self._taken))]

    def _least(self, new: LaneName) -> int:
        # A new lane begins level with the first of the others, whatever they took before it came.
        return min((taken for lane, taken in self._taken.items() if lane[1] == new[1]), default=0)


def _lane(job: ClaimedJob) -> LaneName:
    return (job.queue, job.priority)
