"""The jobs that this process holds, and its claims that have no answer yet."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from haulier.config import Config
from haulier.domain.claim import Fence, Held
from haulier.domain.job import Job
from haulier.kinds import JobContext, Kind, StopReason

# How long a claim without an answer may still be committed: an operating system tries for a quarter of an hour to send
# what a program has written.
UNSURE_SECONDS = 1800.0


@dataclass(slots=True, eq=False)
class HeldJob:
    """A claimed job in this process. Units: times are of the monotonic clock; timeout is seconds.

    After start_by it is given back instead of started (infinity if it never waits in the buffer); began_at is None
    until the job starts, seconds is how long it ran; has_ended: only its outcome is still to be settled, which an
    outage may delay for long; is_held_back: the database refuses the outcome for now; is_unsure: a settle was sent, and
    it is unknown whether it took effect.
    """

    job: Job
    context: JobContext
    timeout: float | None
    is_known: bool = True
    start_by: float = math.inf
    began_at: float | None = None
    timed_out_at: float | None = None
    seconds: float | None = None
    has_ended: bool = False
    is_held_back: bool = False
    is_unsure: bool = False

    @property
    def fence(self) -> Fence:
        """Return the fence of the claim under which it runs."""
        return Fence.of(self.job)

    @property
    def label(self) -> str:
        """Return the kind as metrics name it; unknown kinds share a label, because clients can make up any number."""
        return self.job.kind if self.is_known else "unknown"

    @property
    def waited_seconds(self) -> float | None:
        """Return how long the job had been due when it was claimed."""
        started_at = self.job.started_at
        return None if started_at is None else max(0.0, (started_at - self.job.run_at).total_seconds())


class HeldJobs:
    """The jobs this process holds; safe for all threads.

    In the database more jobs may run in this process's name: no thread holds the jobs of a claim whose reply was lost.
    `strangers` finds them.
    """

    def __init__(self, kinds: Mapping[str, Kind], config: Config) -> None:
        self._kinds, self._config = kinds, config
        # Used directly: through the condition it takes two more calls, which delay a lone job.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # How many threads wait for a change: mostly none, and then no job needs a notify.
        self._waiting = 0
        # A set of objects and not a dict by fence: to hash a fence costs more than everything else here.
        self._running: set[HeldJob] = set()
        self._in_flight: set[UUID] = set()
        # The claims that may have been committed, and since when that is unknown.
        self._unsure: dict[UUID, float] = {}

    def __len__(self) -> int:
        return len(self._running)

    def as_held(self, job: Job) -> HeldJob:
        """Return a claimed job as a HeldJob, not yet held."""
        kind = self._kinds.get(job.kind)
        timeout = job.timeout_seconds or (kind.timeout if kind else None)
        return HeldJob(job, JobContext(job, self._config), timeout, is_known=kind is not None)

    def all(self) -> list[HeldJob]:
        """Return the jobs that are held now."""
        with self._lock:
            return list(self._running)

    def unsure(self) -> list[UUID]:
        """Return the claims that may have been committed without an answer, or may still be."""
        if not self._unsure:
            return []
        with self._lock:
            until = time.monotonic() - UNSURE_SECONDS
            self._unsure = {claim_id: since for claim_id, since in self._unsure.items() if since > until}
            return list(self._unsure)

    def known(self) -> list[UUID]:
        """Return every claim of this process of which a job may be running in the database."""
        with self._lock:
            return list({running.fence.claim for running in self._running} | self._in_flight | set(self._unsure))

    def begin_claim(self, claim_id: UUID) -> None:
        """Note that a claim is under way, before it is sent."""
        with self._lock:
            self._in_flight.add(claim_id)

    def end_claim(self, claim_id: UUID, claimed: Iterable[HeldJob] | None) -> None:
        """End a claim, and hold its jobs; None if it is unknown whether it was committed."""
        with self._lock:
            if claimed is None:
                self._unsure[claim_id] = time.monotonic()
            else:
                self._running.update(claimed)
            self._in_flight.discard(claim_id)
            if self._waiting:
                self._changed.notify_all()

    def resolved(self, claim_id: UUID) -> None:
        """Note that it is known what became of a claim without an answer."""
        with self._lock:
            self._unsure.pop(claim_id, None)

    def leave(self, settled: Iterable[HeldJob]) -> None:
        """Let go of jobs that could not be settled, which are given back when this process ends."""
        with self._lock:
            for running in settled:
                self._running.discard(running)
                self._unsure[running.fence.claim] = time.monotonic()
            self._changed.notify_all()

    def lost(self) -> None:
        """Note that the claims so far are lost, because this process was declared dead."""
        with self._lock:
            self._unsure.clear()

    def drop(self, settled: Iterable[HeldJob]) -> None:
        """Let go of jobs that were settled."""
        with self._lock:
            self._running.difference_update(settled)
            if self._waiting:
                self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait until nothing is held or being claimed; False if the time is up first."""
        with self._lock:
            return self._wait_for(lambda: not self._running and not self._in_flight, seconds)

    def is_alone(self) -> bool:
        """Return whether no job runs or waits here; outcomes that the database refuses for now do not count."""
        with self._lock:
            return self._is_alone()

    def wait_until_alone(self, seconds: float) -> bool:
        """Wait until the process `is_alone`; False if the time is up first."""
        with self._lock:
            return self._wait_for(self._is_alone, seconds)

    def _wait_for(self, is_so: Callable[[], bool], seconds: float) -> bool:
        self._waiting += 1
        try:
            return self._changed.wait_for(is_so, seconds)
        finally:
            self._waiting -= 1

    def _is_alone(self) -> bool:
        return not self._in_flight and all(running.is_held_back for running in self._running)

    def strangers(self, rows: Sequence[Held]) -> list[Fence]:
        """Return the fences of rows, read before this call, that no thread here holds or is claiming."""
        if not rows:
            return []
        with self._lock:
            held = {running.fence for running in self._running}
            return [row.fence for row in rows if row.fence not in held and row.fence.claim not in self._in_flight]

    def stop(self, fences: Iterable[Fence], reason: StopReason) -> None:
        """Ask these jobs to stop."""
        if to_stop := set(fences):
            for running in self.all():
                if running.fence in to_stop:
                    running.context.stop(reason)

    def stop_all(self, reason: StopReason) -> None:
        """Ask every job to stop."""
        for running in self.all():
            running.context.stop(reason)
