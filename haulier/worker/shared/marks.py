"""From where in each lane to claim, so that a claim never walks over what earlier ones have left behind.

Rows that were claimed and settled stay in the index until no transaction anywhere in the database may look back at
them; behind one that is held open there can be hundreds of thousands. A claim begins at the last place that this
process has claimed at. What appears before that place (an earlier run_at, a transaction that committed late, a job
given back) is found by a scan of all lanes: at once where a claim comes back empty, and else now and then, for at most
a twentieth of the time.

Lanes of the same priority take turns: one that has filled a claim goes behind the others. So a queue with a few jobs
waits for one claim of a queue with a million, and not for the million.

Where there are more lanes than one look reads, each goes on where the last one has ended. What then comes between two
rounds is found by itself: new jobs by the time at which they came, those of lanes that lately had some by these lanes,
and what a look has seen to be due soon by its time.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from haulier.domain.claim import BEGINNING, Lane, LaneName, Mark, rank
from haulier.domain.job import Job
from haulier.queue.consume.lanes import MOST_AT_ONCE

# From one scan to the next, unless a claim comes back empty; and while they come back full, when it is in the way of
# threads that have all just ended their jobs.
SCAN_SECONDS, FULL_SCAN_SECONDS = 0.1, 0.25
SCANS_SHARE = 1 / 20
# So many are kept, and read by each claim, also those that have nothing just now: each costs it a few pages.
MOST_LANES = 64
# Where there are more, only those are kept that have something due, and so many are read at once, the best first.
MANY_LANES = 512
# Where the looks go round: those with something due that are kept, the best; those that are looked at each time, since
# they had something lately; and what is due within five minutes, the soonest.
MOST_DUE, MOST_BUSY, MOST_SOON = 20_000, 512, 20_000
SOON_SECONDS = 300.0
# Then a look reads so many, or the next would have to wait for seconds, and with it what is new.
ROUND_AT_ONCE = 4_000
# The first time round, while nothing is known, it may take half of the time.
FIRST_ROUND_SHARE = 1 / 2
# After a look that failed, the next reads a quarter, but so many.
LEAST_AT_ONCE = 100


class Marks:
    """The lanes that this process knows, and its mark in each. One thread at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[LaneName, Mark] = {}
        # The best first; made anew where a mark has moved.
        self._order: list[Mark] | None = None
        # The last claim brought less than was asked for.
        self.is_short = True
        self._is_idle = True
        self._scan_after = 0.0
        self._scanned_at = float("-inf")
        self._cost = 0.0
        self._next_due: float | None = None
        # Behind which lane to look next, and how many to read.
        self.place = BEGINNING
        self.most = MOST_AT_ONCE
        # The lanes are more than one look reads.
        self.is_going_round = False
        self._has_been_round = False
        # How many were read since the beginning; and whether the last time round they would have fitted into one look.
        self._read = 0
        self._would_fit = False
        # Each with the time from when on it is due, and the first of those.
        self._soon: dict[LaneName, tuple[float, Mark]] = {}
        self._soon_at = float("inf")
        # The last used is the last.
        self.busy: dict[LaneName, None] = {}
        self._failing_since: float | None = None
        # Those that had more than a claim could take, the last of them last, each with a number that grows.
        self._turns: dict[LaneName, int] = {}
        self._turn = 0

    def marks(self) -> list[Mark]:
        """Return where to claim from, best first: highest priority, then whose turn it is, then longest due."""
        if self._soon and self._clock() >= self._soon_at:
            self._take_up_due()
        if self._order is None:
            self._order = sorted(self._marks.values(), key=self._rank_in_turn if self._turns else rank)
        return self._order[:MANY_LANES]

    def _rank_in_turn(self, mark: Mark) -> tuple[int, int, datetime]:
        return rank(mark, self._turns.get(mark.lane, 0))

    def is_scan_due(self) -> bool:
        """Tell whether to look at all lanes from their start."""
        return self.seconds_until_scan() <= 0

    def seconds_until_scan(self) -> float:
        """Return how long until the lanes may be looked at again."""
        is_first_round = self.is_going_round and not self._has_been_round
        pause = self._cost / (FIRST_ROUND_SHARE if is_first_round else SCANS_SHARE)
        return self._scanned_at + max(pause, 0.0 if is_first_round else self._scan_after) - self._clock()

    @property
    def at_once(self) -> int:
        """Return how many lanes the next scan is to read at most."""
        is_quick = self.is_going_round and self._has_been_round and not self._would_fit
        return min(self.most, ROUND_AT_ONCE) if is_quick else self.most

    @property
    def seconds_since_scan(self) -> float:
        """Return how long ago the last scan was; infinity before the first."""
        return self._clock() - self._scanned_at

    @property
    def seconds_failing(self) -> float:
        """Return since when scans fail; 0 where the last one has succeeded."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    def scan_failed(self) -> None:
        """Note that a scan has failed; the next one reads less."""
        if self._failing_since is None:
            self._failing_since = self._clock()
        self.most = max(LEAST_AT_ONCE, self.most // 4)

    def scanned(
        self,
        lanes: Sequence[Lane],
        *,
        began_at: float,
        end: LaneName | None = None,
        others: Sequence[Lane] = (),
    ) -> None:
        """Take up what a scan found; it is from after every claim of this process.

        Shape: end is the lane behind which it has left some; others are lanes that were looked at by themselves.
        """
        self._scanned_at = self._clock()
        self._cost = self._scanned_at - began_at
        self._scan_after = SCAN_SECONDS
        self._failing_since, self.most = None, min(MOST_AT_ONCE, 2 * self.most)
        self._read = len(lanes) + (0 if self.place == BEGINNING else self._read)
        self._would_fit = self._read <= MOST_AT_ONCE // 2 if end is None else self._would_fit
        is_whole, self.place = self.place == BEGINNING and end is None, end or BEGINNING
        if is_whole:
            self.is_going_round = self._has_been_round = False
            self._soon, self.busy = {}, {}
            self._take_up_all(lanes)
        else:
            self._has_been_round = self._has_been_round or end is None
            self.is_going_round = True
            self._take_up_part([*lanes, *others])
        self._order = None

    def _take_up_all(self, lanes: Sequence[Lane]) -> None:
        # A lane that is empty just now keeps its mark: its next job is then found without a scan.
        self._marks = {**self._marks, **_heads(lanes)}
        if len(self._marks) > MOST_LANES:
            # Not all are read, and those that have nothing to give must not hide others.
            self._marks = _heads(lane for lane in lanes if lane.seconds <= 0)
        due = min((lane.seconds for lane in lanes), default=None)
        self._next_due = None if due is None else self._scanned_at + due

    def _take_up_part(self, lanes: Sequence[Lane]) -> None:
        """Add what has something due, and what will have; the rest are a million perhaps."""
        due = _heads(lane for lane in lanes if lane.seconds <= 0)
        self._marks = {**self._marks, **due}
        if len(self._marks) > MOST_DUE:
            best = heapq.nsmallest(MOST_DUE, self._marks.values(), key=rank)
            self._marks = {mark.lane: mark for mark in best}
        soon = {lane.head.lane: lane for lane in lanes if 0 < lane.seconds <= SOON_SECONDS}
        for name, lane in soon.items():
            self._soon[name] = (self._scanned_at + lane.seconds, lane.head)
        self._keep_soon({name: each for name, each in self._soon.items() if name not in due})
        self._next_due = self._scanned_at if due else None

    def _take_up_due(self) -> None:
        now = self._clock()
        for name, (due_at, mark) in self._soon.items():
            # What waits before it is not yet due, or would have been seen to be.
            if due_at <= now and name not in self._marks:
                self._marks[name] = mark
            elif due_at <= now:
                self._marks[name] = min(mark, self._marks[name])
        self._keep_soon({name: each for name, each in self._soon.items() if each[0] > now})
        self._order = None

    def _keep_soon(self, soon: dict[LaneName, tuple[float, Mark]]) -> None:
        if len(soon) > MOST_SOON:
            soon = dict(heapq.nsmallest(MOST_SOON, soon.items(), key=lambda item: item[1][0]))
        self._soon = soon
        self._soon_at = min((due_at for due_at, _ in soon.values()), default=float("inf"))

    def claimed(self, jobs: Collection[Job], *, is_short: bool, read: Sequence[Mark] = ()) -> None:
        """Move the marks behind what was claimed; a claim that came back empty asks for a scan.

        Shape: is_short tells that there was no more to claim in the lanes that were read.
        """
        # They come in the order of their lanes, so that the last of each lane lies behind the others.
        lasts = {(job.queue, job.priority): job for job in jobs}
        for lane, job in lasts.items():
            if self.is_going_round:
                self._note_busy(lane)
            mark = self._marks.get(lane)
            if mark is not None and (job.run_at, job.id) > (mark.run_at, mark.id):
                self._marks[lane] = Mark(*lane, job.run_at, job.id)
        if is_short and len(self._marks) > MOST_LANES:
            # They have nothing more to give, and are in the way of those that were not read.
            for mark in read:
                self._marks.pop(mark.lane, None)
            self._order = None if self._order is None else self._order[len(read) :]
            is_short = not self._marks
        else:
            self._order = None
        self._note_turn(lasts, is_short=is_short)
        self.is_short = is_short
        # The first job after an idle while starts at once; the next claim follows when it has.
        if jobs and self._is_idle and is_short:
            self._scan_after = float("inf")
        elif jobs or not is_short:
            self._scan_after = SCAN_SECONDS if is_short else FULL_SCAN_SECONDS
        else:
            self._scan_after = 0.0
        self._is_idle = not jobs

    def _note_turn(self, lanes: Collection[LaneName], *, is_short: bool) -> None:
        if is_short:
            self._turns = {}
        elif lanes:
            # Those before it had no more.
            *_, full = lanes
            self._turn += 1
            self._turns.pop(full, None)
            self._turns[full] = self._turn
            if len(self._turns) > MOST_BUSY:
                del self._turns[next(iter(self._turns))]

    def _note_busy(self, lane: LaneName) -> None:
        self.busy.pop(lane, None)
        self.busy[lane] = None
        if len(self.busy) > MOST_BUSY:
            del self.busy[next(iter(self.busy))]

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
        due = min(self._soon_at, float("inf") if self._next_due is None else self._next_due)
        return None if due == float("inf") else due - self._clock()


def _heads(lanes: Iterable[Lane]) -> dict[LaneName, Mark]:
    return {lane.head.lane: lane.head for lane in lanes}
