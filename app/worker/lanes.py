"""From where in each lane to claim, so that a claim never walks over what earlier ones have left behind.

Rows that were claimed and settled stay in the index until no transaction anywhere in the database may look back at
them; behind one that is held open there can be hundreds of thousands. A claim begins at the last place that this
process has claimed at. What appears before that place (an earlier run_at, a transaction that committed late, a job
given back) is found by a scan of all lanes: at once where a claim comes back empty, and else now and then, for at most
a twentieth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from app.domain.job import Job
from app.queue.consume import Lane, Mark

# From one scan to the next, unless a claim comes back empty; and while they come back full, when it is in the way of
# threads that have all just ended their jobs.
SCAN_SECONDS, FULL_SCAN_SECONDS = 0.1, 0.25
SCANS_SHARE = 1 / 20
# So many are kept, and read by each claim, also those that have nothing just now: each costs it a few pages.
MOST_LANES = 64
# Where there are more, only those are kept that have something due, and so many are read at once, the best first.
MANY_LANES = 512


class Lanes:
    """The lanes that this process knows, and its mark in each. One thread at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[tuple[str, int], Mark] = {}
        # The best first; made anew where a mark has moved.
        self._order: list[Mark] | None = None
        # The last claim brought less than was asked for.
        self.is_short = True
        self._is_idle = True
        self._scan_after = 0.0
        self._scanned_at = float("-inf")
        self._cost = 0.0
        self._next_due: float | None = None

    def marks(self) -> list[Mark]:
        """Return where to claim from, the best lane first: highest priority, then longest due."""
        if self._order is None:
            self._order = sorted(self._marks.values(), key=lambda mark: (-mark.priority, mark.run_at))
        return self._order[:MANY_LANES]

    def is_scan_due(self) -> bool:
        """Tell whether to look at all lanes from their start."""
        return self.seconds_until_scan() <= 0

    def seconds_until_scan(self) -> float:
        """Return how long until the lanes may be looked at again."""
        return self._scanned_at + max(self._cost / SCANS_SHARE, self._scan_after) - self._clock()

    def scanned(self, lanes: Sequence[Lane], *, began_at: float) -> None:
        """Take up what a scan found; it is from after every claim of this process."""
        self._scanned_at = self._clock()
        self._cost = self._scanned_at - began_at
        self._scan_after = SCAN_SECONDS
        # A lane that is empty just now keeps its mark: its next job is then found without a scan.
        self._marks = {**self._marks, **_heads(lanes)}
        if len(self._marks) > MOST_LANES:
            # Not all are read, and those that have nothing to give must not hide others.
            self._marks = _heads(lane for lane in lanes if lane.seconds <= 0)
        self._order = None
        due = min((lane.seconds for lane in lanes), default=None)
        self._next_due = None if due is None else self._scanned_at + due

    def claimed(self, jobs: Collection[Job], *, is_short: bool, read: Sequence[Mark] = ()) -> None:
        """Move the marks behind what was claimed; a claim that came back empty asks for a scan.

        Shape: is_short tells that there was no more to claim in the lanes that were read.
        """
        # They come in the order of their lanes, so that the last of each lane lies behind the others.
        for lane, job in {(job.queue, job.priority): job for job in jobs}.items():
            mark = self._marks.get(lane)
            if mark is not None and (job.run_at, job.id) > (mark.run_at, mark.id):
                self._marks[lane] = Mark(*lane, job.run_at, job.id)
        if is_short and len(self._marks) > MOST_LANES:
            # They have nothing more to give, and are in the way of those that were not read.
            for mark in read:
                self._marks.pop((mark.queue, mark.priority), None)
            self._order = None if self._order is None else self._order[len(read) :]
            is_short = not self._marks
        else:
            self._order = None
        self.is_short = is_short
        # The first job after an idle while starts at once; the next claim follows when it has.
        if jobs and self._is_idle and is_short:
            self._scan_after = float("inf")
        elif jobs or not is_short:
            self._scan_after = SCAN_SECONDS if is_short else FULL_SCAN_SECONDS
        else:
            self._scan_after = 0.0
        self._is_idle = not jobs

    def given_back(self, jobs: Iterable[Job]) -> None:
        """Move the marks back to jobs that this process had claimed and did not start."""
        for job in jobs:
            mark = self._marks.get((job.queue, job.priority))
            if mark is not None and (job.run_at, job.id) < (mark.run_at, mark.id):
                self._marks[job.queue, job.priority] = Mark(job.queue, job.priority, job.run_at, job.id)
                self._order = None

    @property
    def has_due(self) -> bool:
        """Tell whether the last scan saw a job that is due."""
        due = self.seconds_until_due()
        return due is not None and due <= 0

    def seconds_until_due(self) -> float | None:
        """Return how long until a job that the last scan saw is due (negative: it is); None when none waited."""
        return None if self._next_due is None else self._next_due - self._clock()


def _heads(lanes: Iterable[Lane]) -> dict[tuple[str, int], Mark]:
    return {(lane.head.queue, lane.head.priority): lane.head for lane in lanes}
