"""The jobs that the database refuses to claim, to settle or to rescue: left for a while, so that the others go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from haulier.domain.claim import LaneName, Mark
from haulier.domain.errors import reason
from haulier.worker.metrics import counts

# The first pause, doubled each time the job is refused again, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
# The longest pause of what may pass by itself, and how often it is refused before that is told.
PASSING_PAUSE_SECONDS, PASSING_TIMES = 4.0, 3
# Of so many refused jobs, one is tried again in this time on average, at first.
EACH_SECONDS = 0.05
# A lane with many of them is left alone for so long, ten times what is spent on it.
LANE_SECONDS = 5.0
# How often a job is named in the log, and how many lines that may be a minute.
TELL_SECONDS, TOLD_AT_MOST = 60.0, 20
# Where so many are refused it is not the jobs.
MOST_REFUSED = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refusal:
    pause: float = FIRST_PAUSE_SECONDS / 2
    due_at: float = 0.0
    times: int = 0


class RefusalLog:
    """What a process says of the jobs that the database refuses.

    Each is named once a minute at most, whichever statement it is that fails at it, and only so many are a minute.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # When each was named, for a minute.
        self._named: dict[UUID, float] = {}

    def name(self, job_id: UUID, statement: str, error: Exception) -> None:
        """Name a job at which this statement has failed."""
        if self._may_name(job_id):
            log.error(
                "the database refuses to %s job %s, which is tried again later and ever more rarely: %s",
                statement,
                job_id,
                reason(error),
                extra={"job_id": str(job_id)},
            )

    def _may_name(self, job_id: UUID) -> bool:
        with self._lock:
            now = self._clock()
            self._named = {each: at for each, at in self._named.items() if now - at < TELL_SECONDS}
            if job_id in self._named or len(self._named) >= TOLD_AT_MOST:
                return False
            self._named[job_id] = now
            return True


class RefusedLanes:
    """The lanes in which so many jobs are refused that the others would wait for them; left alone for a while."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[LaneName, float] = {}

    def add(self, lane: LaneName) -> None:
        """Leave this lane alone for a while."""
        self._until[lane] = self._clock() + LANE_SECONDS

    def leave_out(self, marks: list[Mark]) -> list[Mark]:
        """Return the marks of the other lanes."""
        if not self._until:
            return marks
        now = self._clock()
        self._until = {lane: until for lane, until in self._until.items() if until > now}
        return [mark for mark in marks if mark.lane not in self._until]


class Refused:
    """The jobs at which one statement fails, each with the pause until it is tried again. Safe for all threads."""

    def __init__(self, statement: str, told: RefusalLog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._statement = statement
        self._log = told
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[UUID, _Refusal] = {}
        self._full_told_at = float("-inf")

    def __len__(self) -> int:
        return len(self._of)

    def add(self, job_id: UUID, error: Exception, *, may_pass: bool = False) -> None:
        """Note that the database has refused the job once more, and say so, once a minute at most.

        What may pass by itself, as a deadlock does, is tried again sooner, and told when it has not passed.
        """
        counts.REFUSED.labels(self._statement).inc()
        with self._lock:
            now = self._clock()
            refusal = self._of.setdefault(job_id, _Refusal())
            refusal.times += 1
            # Many that come back at once would be all that is tried.
            pause = max(2 * refusal.pause, len(self._of) * EACH_SECONDS)
            refusal.pause = min(PASSING_PAUSE_SECONDS if may_pass else LONGEST_PAUSE_SECONDS, pause)
            refusal.due_at = now + refusal.pause
            may_still_pass = may_pass and refusal.times < PASSING_TIMES
        if not may_still_pass:
            self._log.name(job_id, self._statement, error)

    def forget(self, job_ids: Iterable[UUID]) -> None:
        """Note that these are refused no longer, or are no longer ours to try."""
        if self._of:
            with self._lock:
                for job_id in job_ids:
                    self._of.pop(job_id, None)

    def due(self) -> set[UUID]:
        """Return the jobs whose time to be tried again has come."""
        return set(self._of).difference(self.waiting()) if self._of else set()

    def waiting(self) -> list[UUID]:
        """Return the jobs whose time to be tried again has not come."""
        if not self._of:
            return []
        with self._lock:
            now = self._clock()
            # One that was not refused again for so long is gone, or would be found anew.
            for job_id in [each for each, refusal in self._of.items() if now - refusal.due_at > LONGEST_PAUSE_SECONDS]:
                del self._of[job_id]
            return [job_id for job_id, refusal in self._of.items() if refusal.due_at > now]

    def is_waiting(self, job_id: UUID) -> bool:
        """Tell whether this job's time to be tried again has not come."""
        refusal = self._of.get(job_id)
        return refusal is not None and refusal.due_at > self._clock()

    @property
    def is_full(self) -> bool:
        """Tell whether so many are refused that no more can be left aside."""
        if len(self._of) < MOST_REFUSED or len(self.waiting()) < MOST_REFUSED:
            return False
        self._say_full()
        return True

    def _say_full(self) -> None:
        with self._lock:
            now = self._clock()
            if now - self._full_told_at < TELL_SECONDS:
                return
            self._full_told_at = now
        log.error(
            "the database refuses to %s %d jobs: nothing is claimed until that is over", self._statement, len(self)
        )


class Refusals:
    """What the database refuses this process: the jobs of each of three statements, and lanes full of them."""

    def __init__(self) -> None:
        told = RefusalLog()
        self.to_claim = Refused("claim", told)
        self.to_settle = Refused("settle", told)
        self.to_rescue = Refused("rescue", told)
        self.lanes = RefusedLanes()
