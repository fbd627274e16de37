"""Turns: which lane of several with more jobs than a claim can take comes first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from haulier.domain.claim import LaneName, Mark
from haulier.queue.rows import ClaimedJob

# What a job counts beside its text. A large job costs the database as much for each so many bytes as a small one in
# all. Units: bytes.
JOB_BYTES = 1_000
# Of more lanes that filled claims, those that did so longest ago are forgotten.
MOST_FULL = 512


class Turns:
    """How much each lane has taken that filled a claim lately: the one that has taken least comes first.

    A lane that does not fill claims is before them all. Counted are bytes and not claims: a claim of a dozen large jobs
    can take the database longer than ten thousand small ones.
    """

    def __init__(self) -> None:
        # The lane that filled a claim last is the last.
        self._taken: dict[LaneName, int] = {}

    def __bool__(self) -> bool:
        return bool(self._taken)

    def taken(self, lane: LaneName) -> int:
        """Return how much a lane has taken; 0 where it has not filled a claim."""
        return self._taken.get(lane, 0)

    def claimed(self, jobs: Sequence[ClaimedJob], *, is_short: bool, read: Sequence[Mark]) -> None:
        """Note a claim that read these lanes in this order.

        Shape: jobs lane by lane; is_short tells that no lane had more than was claimed.
        """
        if is_short or len(read) < 2:
            self._taken = {}
        elif jobs:
            # The last lane filled the claim; those that were read before it had no more.
            full = _lane(jobs[-1])
            for lane in takewhile(lambda lane: lane != full, (mark.lane for mark in read)):
                self._taken.pop(lane, None)
            before = self._taken.pop(full) if full in self._taken else self._least(full)
            its_own = takewhile(lambda job: _lane(job) == full, reversed(jobs))
            self._taken[full] = before + sum(JOB_BYTES + job.text_size for job in its_own)
            if len(self._taken) > MOST_FULL:
                del self._taken[next(iter(self._taken))]

    def _least(self, new: LaneName) -> int:
        # A lane that joins the others begins level with the first of them, whatever they took before it came.
        return min((taken for lane, taken in self._taken.items() if lane[1] == new[1]), default=0)


def _lane(job: ClaimedJob) -> LaneName:
    return (job.queue, job.priority)
