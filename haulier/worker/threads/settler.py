"""The thread that settles late outcomes and those that did not settle with the others, and gives back waiting jobs."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.database import Database
from haulier.worker.shared.buffer import Buffer
from haulier.worker.shared.claim_size import WINDOW_SECONDS
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.shutdown import Shutdown
from haulier.worker.steps.settle_and_claim import Calls
from haulier.worker.steps.settle_doubtful import SettleDoubtful

TICK_SECONDS = WINDOW_SECONDS / 2
# Jobs claimed ahead go back when none of them has started for this long: the jobs before them have turned out slow.
STANDSTILL_SECONDS = 2 * WINDOW_SECONDS
IDLE_SECONDS = 0.25
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Settler(threading.Thread):
    """Ensures that no outcome waits here for longer than WINDOW_SECONDS, as far as it can be settled at all."""

    buffer: Buffer
    marks: Marks
    calls: Calls
    doubtful: SettleDoubtful
    database: Database
    outage: Outage
    shutdown: Shutdown

    def __post_init__(self) -> None:
        super().__init__(name="settler", daemon=True)

    def run(self) -> None:
        """Settle and give back whenever there is something, until the process closes."""
        stirred, closing = self.buffer.stirred, self.shutdown.closing
        try:
            while not closing.is_set():
                if not (stirred.wait(IDLE_SECONDS) or self.doubtful.has_held_back):
                    continue
                stirred.clear()
                while self._has_any() and not closing.wait(TICK_SECONDS):
                    self._tidy()
        finally:
            self.database.close()

    def _has_any(self) -> bool:
        return self.buffer.has_any() or self.doubtful.has_due()

    def _tidy(self) -> None:
        buffer = self.buffer
        try:
            if buffer.stands_still(STANDSTILL_SECONDS) and buffer.take_place():
                self._make_round_trip(giving_back=True)
            elif buffer.is_overdue() and buffer.take_place():
                self._make_round_trip(giving_back=False)
            self.doubtful.settle()
        except (DatabaseUnavailable, Refusal) as error:
            self.outage.failed(error)
            self.outage.pause()
        except Exception:
            log.exception("the settler's round failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
            self.shutdown.closing.wait(BUG_PAUSE_SECONDS)

    def _make_round_trip(self, *, giving_back: bool) -> None:
        try:
            if giving_back:
                self.marks.given_back([running.job for running in self.buffer.empty()])
            if self.calls.settle_ended() is None:
                self.outage.pause()
        finally:
            self.buffer.done(leaving=True)
