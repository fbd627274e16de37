"""Marks: where to begin a claim in each lane, so that it does not walk over the dead rows of earlier claims.

Rows that were claimed and settled stay in the index while any open transaction of the database could still see them:
there can be hundreds of thousands. So a claim begins at the last job that this process claimed in the lane. Jobs that
appear before that mark (an earlier run_at, a transaction that committed late, a job given back) are found by a scan of
all lanes: at once after a claim that comes back empty, otherwise now and then, for at most a twentieth of the time. A
scan of 1,000 lanes takes 0.01 s, and so the next one waits for 0.2 s. Until then a scan of the new jobs, whose cost
does not grow with the lanes, finds jobs that have just been enqueued.

Lanes of the same priority take turns: a lane that has filled a claim goes behind the lanes that have taken fewer bytes.
So a queue with a few jobs waits for one claim of a queue with a million, and not for the million. And a queue of small
jobs gets thousands of them for each claim of a queue whose jobs are so large that a dozen fill it.

If there are more lanes than one scan reads, each scan continues where the last one ended, round after round. Jobs that
should not wait for a whole round are found in other ways: new jobs by their time; jobs in lanes that recently had some
by looking at these lanes with each scan; and jobs that a scan saw to be due soon by remembering the time.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import takewhile

from haulier.domain.claim import BEGINNING, Lane, LaneName, Mark, rank
from haulier.domain.job import Job
from haulier.queue.claims.lanes import MOST_AT_ONCE
from haulier.queue.rows import ClaimedJob

# What a job counts besides its text, in bytes: a small job costs the database as much as this much text of a large one.
JOB_BYTES = 1_000
# If more lanes than this have filled claims, those that did so longest ago are forgotten.
MOST_FULL = 512


class Turns:
    """How much each lane that recently filled a claim has taken: the lane that has taken least comes first.

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


# From one scan to the next, unless a claim comes back empty; the second while claims come back full, since a scan then
# holds up threads that have all just ended their jobs.
SCAN_SECONDS, FULL_SCAN_SECONDS = 0.1, 0.25
SCANS_SHARE = 1 / 20
# Lanes with a due job are kept. If they are fewer than this, empty lanes are kept too, up to this number in all: those
# that had a job last. Each claim reads them, which costs a few pages a lane.
MOST_LANES = 64
# A claim reads this many lanes, best first.
MANY_LANES = 512
# If scans go round: how many lanes with a due job are kept, the best; how many lanes that recently had jobs are looked
# at with each scan; and how many lanes with a job due within SOON_SECONDS are kept, the soonest.
MOST_DUE, MOST_BUSY, MOST_SOON = 20_000, 512, 20_000
SOON_SECONDS = 300.0
# If scans go round, each reads this many lanes. After longer scans the pauses would be seconds, and new jobs would wait
# that long.
ROUND_AT_ONCE = 4_000
# In the first round, while no lane is known, and when a scan was asked for, scans may take half of the time.
QUICK_SHARE = 1 / 2
# After a scan that failed the next reads a quarter as many lanes, but at least this many.
LEAST_AT_ONCE = 100


class Marks:
    """The lanes that this process knows, and its mark in each. One thread at a time, except for `want_scan`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[LaneName, Mark] = {}
        # The marks, best first; None after one has moved.
        self._order: list[Mark] | None = None
        # Whether the last claim took all that was due in the lanes it read.
        self.is_short = True
        self._is_idle = True
        self._is_scan_wanted = False
        self._scan_after = 0.0
        self._scanned_at = self._scanned_new_at = float("-inf")
        # How long the last scan took, and the last two scans of new jobs.
        self._cost, self._costs_of_new = 0.0, (0.0, 0.0)
        self._next_due: float | None = None
        # The lane behind which the next scan begins, and how many lanes it may read.
        self.place = BEGINNING
        self.most = MOST_AT_ONCE
        # Whether there are more lanes than one scan reads.
        self.is_going_round = False
        self._has_been_round = False
        # How many lanes this round has read; whether a scan could read twice as many lanes as the last round.
        self._read = 0
        self._would_fit = False
        # The lanes with a job due soon, each with the time at which it is due; and the earliest of these times.
        self._soon: dict[LaneName, tuple[float, Mark]] = {}
        self._soon_at = float("inf")
        # The lanes that recently had jobs, the latest last.
        self.busy: dict[LaneName, None] = {}
        self._failing_since: float | None = None
        self._turns = Turns()

    def marks(self) -> list[Mark]:
        """Return the marks to claim from, best first: by priority, then by what their lanes took, then longest due."""
        if self._soon and self._clock() >= self._soon_at:
            self._take_up_due()
        if self._order is None:
            self._order = sorted(self._marks.values(), key=self._rank_in_turn if self._turns else rank)
        return self._order[:MANY_LANES]

    def _rank_in_turn(self, mark: Mark) -> tuple[int, int, datetime]:
        return rank(mark, self._turns.taken(mark.lane))

    def is_scan_due(self) -> bool:
        """Return whether a scan is due."""
        return self.seconds_until_scan() <= 0

    def seconds_until_scan(self) -> float:
        """Return how long until the next scan may begin."""
        is_urgent = self._is_scan_wanted or (self.is_going_round and not self._has_been_round)
        pause = self._cost / (QUICK_SHARE if is_urgent else SCANS_SHARE)
        # Without a mark there is no claim, after which a scan would be due.
        scan_after = 0.0 if is_urgent or not self._marks else self._scan_after
        return self._scanned_at + max(pause, scan_after) - self._clock()

    def is_scan_of_new_due(self) -> bool:
        """Return whether a scan of the new jobs is due; not if a scan of the lanes is due that finds them as soon."""
        is_needless = self.is_scan_due() and self._cost <= 2 * min(self._costs_of_new)
        return self.seconds_until_scan_of_new() <= 0 and not is_needless

    def seconds_until_scan_of_new(self) -> float:
        """Return how long until the next scan of the new jobs may begin."""
        # The lesser of two: a scan that a busy machine held up for 0.1 s must not make new jobs wait for 2 s.
        return self._scanned_new_at + min(self._costs_of_new) / SCANS_SHARE - self._clock()

    def want_scan(self) -> None:
        """Have the next round trip scan: lanes that were paused may have jobs to claim."""
        self._is_scan_wanted = True

    def scan_begins(self) -> None:
        """Note that a scan is about to be sent: if one is wanted from now on, it has to be another one."""
        self._is_scan_wanted = False

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
        """Return for how long scans have failed; 0 if the last one succeeded. Units: seconds."""
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
        """Take in the lanes that a scan found; it began after the last claim of this process was answered.

        `end` is the last lane read, None if no lane is left; others are lanes that were looked at separately.
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

    def scanned_new(self, lanes: Sequence[Lane], *, began_at: float) -> None:
        """Take in the lanes of new jobs, each with the time of its first new job as its head."""
        self._scanned_new_at = self._clock()
        self._costs_of_new = self._costs_of_new[1], self._scanned_new_at - began_at
        for lane in lanes:
            name, known = lane.head.lane, self._marks.get(lane.head.lane)
            # A known mark stays if the time is the same: jobs of one INSERT have one time, and some may be claimed.
            if lane.seconds > 0 or known is None or lane.head.run_at < known.run_at:
                soon = (self._scanned_new_at + lane.seconds, lane.head)
                self._soon[name] = min(soon, self._soon.get(name, soon))
        self._keep_soon(self._soon)

    def _take_up_all(self, lanes: Sequence[Lane]) -> None:
        known, self._marks = self._marks, {}
        self._take_up_part(lanes)
        # A lane that is empty just now keeps its mark: its next job is then found without a scan. But empty lanes must
        # not take the place of others, since a claim does not read all of many lanes.
        room = max(0, MOST_LANES - len(self._marks))
        empty = deque((mark for lane, mark in known.items() if lane not in self._marks), maxlen=room)
        self._marks.update((mark.lane, mark) for mark in empty)
        due = min((lane.seconds for lane in lanes), default=None)
        self._next_due = None if due is None else self._scanned_at + due

    def _take_up_part(self, lanes: Sequence[Lane]) -> None:
        """Add the lanes with a job that is due now or soon; the rest may be a million."""
        due = _heads(lane for lane in lanes if lane.seconds <= 0)
        self._marks = {**self._marks, **due}
        if len(self._marks) > MOST_DUE:
            best = heapq.nsmallest(MOST_DUE, self._marks.values(), key=rank)
            self._marks = {mark.lane: mark for mark in best}
        soon = {lane.head.lane: lane for lane in lanes if 0 < lane.seconds <= SOON_SECONDS}
        for name, lane in soon.items():
            self._soon[name] = (self._scanned_at + lane.seconds, lane.head)
        self._keep_soon({name: head for name, head in self._soon.items() if name not in due})
        self._next_due = self._scanned_at if due else None

    def _take_up_due(self) -> None:
        now = self._clock()
        for name, (due_at, mark) in self._soon.items():
            # Begin at this mark: the scan saw it as the first job of its lane.
            if due_at <= now and name not in self._marks:
                self._marks[name] = mark
            elif due_at <= now:
                self._marks[name] = min(mark, self._marks[name])
        self._keep_soon({name: (due_at, mark) for name, (due_at, mark) in self._soon.items() if due_at > now})
        self._order = None

    def _keep_soon(self, soon: dict[LaneName, tuple[float, Mark]]) -> None:
        if len(soon) > MOST_SOON:
            soon = dict(heapq.nsmallest(MOST_SOON, soon.items(), key=lambda item: item[1][0]))
        self._soon = soon
        self._soon_at = min((due_at for due_at, _ in soon.values()), default=float("inf"))

    def claimed(self, jobs: Sequence[ClaimedJob], *, is_short: bool, read: Sequence[Mark] = ()) -> None:
        """Move the marks to the jobs that were claimed; after a claim that came back empty, a scan is due.

        `is_short`: there were no more jobs to claim in the lanes that were read.
        """
        # Jobs come lane by lane, each in the order of its index, so the dict keeps the last job of each lane.
        lasts = {(job.queue, job.priority): job for job in jobs}
        for lane, job in lasts.items():
            if self.is_going_round:
                self._note_busy(lane)
            mark = self._marks.pop(lane, None)
            if mark is not None:
                # So the lanes that recently had jobs are the last of the dict.
                self._marks[lane] = max(mark, Mark(*lane, job.run_at, job.id))
        if is_short and len(self._marks) > MOST_LANES:
            is_short = len(read) >= len(self._marks)
            self._forget_emptied(read, kept=MOST_LANES if is_short else 0)
        else:
            self._order = None
        self._turns.claimed(jobs, is_short=is_short, read=read)
        self.is_short = is_short
        # The first job after an idle time starts at once, without a scan before it; the next claim decides again.
        if jobs and self._is_idle and is_short:
            self._scan_after = float("inf")
        elif jobs or not is_short:
            self._scan_after = SCAN_SECONDS if is_short else FULL_SCAN_SECONDS
        else:
            self._scan_after = 0.0
        self._is_idle = not jobs

    def _forget_emptied(self, read: Sequence[Mark], *, kept: int) -> None:
        """Forget the lanes that were read, so that the next claim reads others; keep the last."""
        for mark in read[: len(read) - kept]:
            self._marks.pop(mark.lane, None)
        self._order = None if self._order is None or kept else self._order[len(read) :]

    def _note_busy(self, lane: LaneName) -> None:
        self.busy.pop(lane, None)
        self.busy[lane] = None
        if len(self.busy) > MOST_BUSY:
            del self.busy[next(iter(self.busy))]

    def given_back(self, jobs: Iterable[Job]) -> None:
        """Move the marks back to jobs that this process claimed and did not start."""
        for job in jobs:
            mark = self._marks.get((job.queue, job.priority))
            if mark is not None and (job.run_at, job.id) < (mark.run_at, mark.id):
                self._marks[job.queue, job.priority] = Mark(job.queue, job.priority, job.run_at, job.id)
                self._order = None

    @property
    def has_due(self) -> bool:
        """Return whether the last scan saw a job that is due."""
        due = self.seconds_until_due()
        return due is not None and due <= 0

    def seconds_until_due(self) -> float | None:
        """Return how long until a job that the last scan saw is due (negative: it is due); None if none waited."""
        due = min(self._soon_at, float("inf") if self._next_due is None else self._next_due)
        return None if due == float("inf") else due - self._clock()


def _heads(lanes: Iterable[Lane]) -> dict[LaneName, Mark]:
    return {lane.head.lane: lane.head for lane in lanes}
