"""The thread that fires the ticks of schedules. Its connection is open only while there are schedules."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from haulier.postgres.pool import Database
from haulier.worker.steps.fire import LOOK_SECONDS, Firing

# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Scheduler(threading.Thread):
    """Fires schedules until the process stops, once the heartbeat has seen that there are any."""

    database: Database
    firing: Firing
    has_schedules: threading.Event
    stopping: threading.Event

    def __post_init__(self) -> None:
        super().__init__(name="scheduler", daemon=True)

    def run(self) -> None:
        """Fire the schedules that are due, and wait for the next ones."""
        try:
            seconds = LOOK_SECONDS
            while not self.stopping.wait(seconds):
                seconds = self._turn() if self.has_schedules.is_set() else LOOK_SECONDS
        finally:
            self.database.close()

    def _turn(self) -> float:
        try:
            seconds = self.firing.turn()
        # Perhaps a table was changed: the error must be logged, and must not end the thread.
        except Exception:
            log.exception("firing schedules failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
            return BUG_PAUSE_SECONDS
        if seconds is None:
            self.has_schedules.clear()
            self.database.close()
            return LOOK_SECONDS
        return seconds
