"""What running handlers say of their progress: gathered from their contexts, and written for all of them at once."""

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
from haulier.queue import consume
from haulier.queue.consume.progress import PROGRESS_LOCK_SECONDS
from haulier.worker.link.lease import Lease
from haulier.worker.supply.held import HeldJob

# Between two statements; where the database refuses them, twice as long each time, up to a minute.
PERIOD_SECONDS, LONGEST_SECONDS = 1.0, 60.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ProgressWriter:
    """Writes what the jobs of `running` have said, once a second at most, in one statement. For the heartbeat.

    Shape: running returns for each runner the job that it runs, or ran last. Where they say nothing, nothing is sent.
    Units: at_most is what a statement may take, seconds.
    """

    lease: Lease
    running: Callable[[], Iterable[HeldJob | None]]
    at_most: float
    # What is in the table.
    _written: dict[Fence, Progress] = field(default_factory=dict, init=False)
    _next_at: float = field(default=float("-inf"), init=False)
    # The claims whose progress the database refuses; they are left out until then.
    _refused: AbstractSet[Fence] = field(default_factory=set, init=False)
    _again_at: float = field(default=float("-inf"), init=False)
    _pause: float = field(default=PERIOD_SECONDS, init=False)

    def write(self, conn: Connection) -> None:
        """Write what is new, if the last time is long enough ago. Raises: DatabaseUnavailable."""
        now, worker_id = time.monotonic(), self.lease.registered_as
        if now < self._next_at or worker_id is None:
            return
        self._next_at = now + PERIOD_SECONDS
        said = self._gather()
        changed = [fence for fence, each in said.items() if self._written.get(fence) != each]
        left_out = self._refused if now < self._again_at else ()
        fences = [fence for fence in (*changed, *(self._written.keys() - said.keys())) if fence not in left_out]

        def write(some: Sequence[Fence]) -> Sequence[None]:
            new = {fence: _shown(said[fence]) for fence in some if fence in said}
            over = [fence for fence in some if fence not in said]
            consume.write_progress(conn, worker_id, new, over=over, seconds=self.at_most)
            return [None] * len(some)

        if fences:
            self._note(said, dict(zip(fences, _each(fences, write), strict=True)))

    def _note(self, said: Mapping[Fence, Progress], became: Mapping[Fence, Refusal | None]) -> None:
        refused = {fence: error for fence, error in became.items() if error is not None}
        for fence in became.keys() - refused.keys():
            if fence in said:
                self._written[fence] = said[fence]
            else:
                del self._written[fence]
        if refused:
            # It harms no job, so nothing else of the worker is to learn of it.
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
        return {held.fence: said for held in running if (said := held.context.said) is not None}


def _each(fences: Sequence[Fence], write: Callable[[Sequence[Fence]], Sequence[None]]) -> Sequence[Refusal | None]:
    try:
        return by_halves(fences, write, slow_seconds=PROGRESS_LOCK_SECONDS / 2)
    except RefusedForNow as error:
        # It has waited, as for a lock on the table.
        return [error] * len(fences)


def _shown(said: Progress) -> Progress:
    """Return it as anybody may see it: a note may quote a URL with a password."""
    return said if said.note is None else said._replace(note=redacted(said.note)[:NOTE_CHARACTERS])
