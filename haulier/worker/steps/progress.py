"""What running handlers say of their progress: gathered from their contexts, and written for all of them at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from haulier.domain.claim import Fence
from haulier.domain.errors import Refusal, reason
from haulier.domain.progress import NOTE_CHARACTERS, Progress
from haulier.logs import redacted
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.held import HeldJob
from haulier.worker.shared.lease import Lease

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
    _pause: float = field(default=PERIOD_SECONDS, init=False)

    def write(self, conn: Connection) -> None:
        """Write what is new, if the last time is long enough ago. Raises: DatabaseUnavailable."""
        now, worker_id = time.monotonic(), self.lease.registered_as
        if now < self._next_at or worker_id is None:
            return
        self._next_at = now + PERIOD_SECONDS
        said = self._gather()
        new = {fence: _shown(each) for fence, each in said.items() if self._written.get(fence) != each}
        over = self._written.keys() - said.keys()
        if not new and not over:
            return
        try:
            with translated():
                consume.write_progress(conn, worker_id, new, over=over, seconds=self.at_most)
        except Refusal as error:
            self._refused(error)
        else:
            self._written, self._pause = said, PERIOD_SECONDS

    def _gather(self) -> dict[Fence, Progress]:
        running = [held for held in self.running() if held is not None and not held.has_ended]
        return {held.fence: said for held in running if (said := held.context.said) is not None}

    def _refused(self, error: Refusal) -> None:
        # It harms no job, so nothing else of the worker is to learn of it.
        self._pause = min(2 * self._pause, LONGEST_SECONDS)
        self._next_at = time.monotonic() + self._pause
        log.warning(
            "the database refuses the progress of running jobs, trying again in %.0f s: %s", self._pause, reason(error)
        )


def _shown(said: Progress) -> Progress:
    """Return it as anybody may see it: a note may quote a URL with a password."""
    return said if said.note is None else said._replace(note=redacted(said.note)[:NOTE_CHARACTERS])
