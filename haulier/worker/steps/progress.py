"""The progress of running handlers: gathered from their contexts, and written for all of them at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from haulier.domain.claim import Fence
from haulier.domain.errors import Refusal, RefusedForNow, reason
from haulier.domain.progress import NOTE_CHARACTERS, Progress
from haulier.logs import redacted
from haulier.postgres.halves import by_halves
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.queue.claims.progress import PROGRESS_LOCK_SECONDS
from haulier.worker.link.lease import Lease
from haulier.worker.supply.held import HeldJob

# Between two statements; if the database refuses them, twice as long each time, up to a minute.
PERIOD_SECONDS, LONGEST_SECONDS = 1.0, 60.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ProgressWriter:
    """Writes the progress of the jobs that run, at most once a second, in one statement. For the heartbeat.

    `running` returns for each runner the job that it runs, or ran last. Without news nothing is sent.
    Units: at_most is the seconds that a statement may take.
    """

    lease: Lease
    running: Callable[[], Iterable[HeldJob | None]]
    at_most: float
    # What is in the table.
    _written: dict[Fence, Progress] = field(default_factory=dict, init=False)
    _next_at: float = field(default=float("-inf"), init=False)
    # The claims whose progress the database refuses, and until when they are left out.
    _refused: AbstractSet[Fence] = field(default_factory=set, init=False)
    _again_at: float = field(default=float("-inf"), init=False)
    _pause: float = field(default=PERIOD_SECONDS, init=False)

    def write(self, conn: Connection) -> None:
        """Write what is new, if the last write is long enough ago. Raises: DatabaseUnavailable."""
        now, worker_id = time.monotonic(), self.lease.registered_as
        if now < self._next_at or worker_id is None:
            return
        self._next_at = now + PERIOD_SECONDS
        latest = self._gather()
        changed = [fence for fence, progress in latest.items() if self._written.get(fence) != progress]
        left_out = self._refused if now < self._again_at else ()
        fences = [fence for fence in (*changed, *(self._written.keys() - latest.keys())) if fence not in left_out]

        def write(some: Sequence[Fence]) -> Sequence[None]:
            new = {fence: _masked(latest[fence]) for fence in some if fence in latest}
            over = [fence for fence in some if fence not in latest]
            claims.write_progress(conn, worker_id, new, over=over, seconds=self.at_most)
            return [None] * len(some)

        if fences:
            self._note(latest, dict(zip(fences, _each(fences, write), strict=True)))

    def _note(self, latest: Mapping[Fence, Progress], became: Mapping[Fence, Refusal | None]) -> None:
        refused = {fence: error for fence, error in became.items() if error is not None}
        for fence in became.keys() - refused.keys():
            if fence in latest:
                self._written[fence] = latest[fence]
            else:
                del self._written[fence]
        if refused:
            # It harms no job, so nothing else in the worker needs to know.
            self._pause = min(2 * self._pause, LONGEST_SECONDS)
            self._refused, self._again_at = refused.keys(), time.monotonic() + self._pause
            log.warning(
                "the database refuses the progress of running jobs, trying again in %.0f s: %s",
                self._pause,
                reason(next(iter(refused.values()))),
            )
        elif time.monotonic() >= self._again_at:
            self._pause = PERIOD_SECONDS

    def _gather(self) -> dict[Fence, Progress]:
        running = [held for held in self.running() if held is not None and not held.has_ended]
        return {held.fence: progress for held in running if (progress := held.context.said) is not None}


def _each(fences: Sequence[Fence], write: Callable[[Sequence[Fence]], Sequence[None]]) -> Sequence[Refusal | None]:
    try:
        return by_halves(fences, write, slow_seconds=PROGRESS_LOCK_SECONDS / 2)
    except RefusedForNow as error:
        # The statement has waited, perhaps for a lock on the table.
        return [error] * len(fences)


def _masked(progress: Progress) -> Progress:
    """Return the progress with passwords masked: a note may quote a URL."""
    return progress if progress.note is None else progress._replace(note=redacted(progress.note)[:NOTE_CHARACTERS])
