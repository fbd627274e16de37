"""The jobs that the database refuses to claim, settle or rescue. Each is skipped for a while, so others continue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from haulier.domain.claim import LaneName, Mark
from haulier.domain.errors import Refusal, reason
from haulier.worker.metrics import counts

# The first pause, doubled each time the job is refused again, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
# For a refusal that may pass by itself: its longest pause, and how many refusals there are before it is logged.
PASSING_PAUSE_SECONDS, PASSING_TIMES = 4.0, 3
# If many jobs are refused, the first pauses are longer: on average one job is retried in this time.
EACH_SECONDS = 0.05
# How long a lane with many refused jobs is skipped: ten times as long as the search in it may take.
LANE_SECONDS = 5.0
# The log names a job once in this time at most, and no more jobs than this.
LOG_SECONDS, MOST_LOGGED = 60.0, 20
# If this many jobs are refused, the jobs are not the reason.
MOST_REFUSED = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refusal:
    since: float
    pause: float = FIRST_PAUSE_SECONDS / 2
    due_at: float = 0.0
    times: int = 0


class RefusalLog:
    """The log of refused jobs: it names each job once a minute, whichever statement fails, and MOST_LOGGED a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # The jobs named in the last minute, each with the time.
        self._named: dict[UUID, float] = {}

    def name(self, job_id: UUID, statement: str, error: Exception) -> None:
        """Name a job at which this statement has failed."""
        if self._may_name(job_id):
            log.error(
                "the database refuses to %s job %s, retrying with growing pauses: %s",
                statement,
                job_id,
                reason(error),
                extra={"job_id": str(job_id)},
            )

    def _may_name(self, job_id: UUID) -> bool:
        with self._lock:
            now = self._clock()
            self._named = {named: at for named, at in self._named.items() if now - at < LOG_SECONDS}
            if job_id in self._named or len(self._named) >= MOST_LOGGED:
                return False
            self._named[job_id] = now
            return True


class RefusedLanes:
    """The lanes with too many refused jobs, which would hold up other lanes: each is skipped for a while."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[LaneName, float] = {}

    def add(self, lane: LaneName) -> None:
        """Skip this lane for a while."""
        self._until[lane] = self._clock() + LANE_SECONDS

    def leave_out(self, marks: list[Mark]) -> list[Mark]:
        """Return the marks of the other lanes."""
        if not self._until:
            return marks
        now = self._clock()
        self._until = {lane: until for lane, until in self._until.items() if until > now}
        return [mark for mark in marks if mark.lane not in self._until]


class Refused:
    """The jobs at which one statement fails, each with its pause until the next try. Safe for all threads."""

    def __init__(self, statement: str, refusals: RefusalLog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._statement = statement
        self._log = refusals
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[UUID, _Refusal] = {}
        self._full_logged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._of)

    def add(self, job_id: UUID, error: Exception) -> None:
        """Note that the database has refused the job again, and log that, once a minute at most.

        After a refusal that may pass by itself, such as a deadlock, the job is retried sooner, and only the third
        such refusal is logged.
        """
        counts.REFUSED.labels(self._statement).inc()
        may_pass = isinstance(error, Refusal) and error.may_pass
        with self._lock:
            now = self._clock()
            refusal = self._of.setdefault(job_id, _Refusal(now))
            refusal.times += 1
            # If many jobs were retried at once, no other job would be tried.
            pause = max(2 * refusal.pause, len(self._of) * EACH_SECONDS)
            refusal.pause = min(PASSING_PAUSE_SECONDS if may_pass else LONGEST_PAUSE_SECONDS, pause)
            refusal.due_at = now + refusal.pause
            may_still_pass = may_pass and refusal.times < PASSING_TIMES
        if not may_still_pass:
            self._log.name(job_id, self._statement, error)

    def seconds(self, job_id: UUID) -> float:
        """Return for how long the database has refused the job; 0 if it does not."""
        refusal = self._of.get(job_id)
        return 0.0 if refusal is None else self._clock() - refusal.since

    def forget(self, job_ids: Iterable[UUID]) -> None:
        """Note that these jobs are refused no longer, or are no longer held here."""
        if self._of:
            with self._lock:
                for job_id in job_ids:
                    self._of.pop(job_id, None)

    def due(self) -> set[UUID]:
        """Return the jobs that are to be retried now."""
        return set(self._of).difference(self.waiting()) if self._of else set()

    def waiting(self) -> list[UUID]:
        """Return the jobs that are not yet to be retried."""
        if not self._of:
            return []
        with self._lock:
            now = self._clock()
            # A job that was not refused again for this long is gone; if it is not, the next refusal adds it again.
            for job_id, refusal in list(self._of.items()):
                if now - refusal.due_at > LONGEST_PAUSE_SECONDS:
                    del self._of[job_id]
            return [job_id for job_id, refusal in self._of.items() if refusal.due_at > now]

    def is_waiting(self, job_id: UUID) -> bool:
        """Return whether this job is not yet to be retried."""
        refusal = self._of.get(job_id)
        return refusal is not None and refusal.due_at > self._clock()

    @property
    def is_full(self) -> bool:
        """Return whether too many jobs are refused to skip any more."""
        if len(self._of) < MOST_REFUSED or len(self.waiting()) < MOST_REFUSED:
            return False
        self._say_full()
        return True

    def _say_full(self) -> None:
        with self._lock:
            now = self._clock()
            if now - self._full_logged_at < LOG_SECONDS:
                return
            self._full_logged_at = now
        log.error(
            "the database refuses to %s %d jobs: this worker claims no jobs until it accepts them",
            self._statement,
            len(self),
        )
