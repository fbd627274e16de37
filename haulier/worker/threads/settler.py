"""The thread that settles outcomes that no runner has settled, and gives back jobs that would wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.pool import Database
from haulier.worker.steps.settle_and_claim import Calls, SettleDoubtful
from haulier.worker.supply.buffer import Ended
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import WINDOW_SECONDS

TICK_SECONDS = WINDOW_SECONDS / 2
IDLE_SECONDS = 0.25
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Settler(threading.Thread):
    """Ensures that no outcome waits here for longer than WINDOW_SECONDS, if it can be settled at all.

    `calls` are for the place; `beside` are over this thread's own connection.
    """

    calls: Calls
    beside: Calls
    doubtful: SettleDoubtful
    database: Database
    shutdown: Shutdown

    def __post_init__(self) -> None:
        super().__init__(name="settler", daemon=True)

    def run(self) -> None:
        """Settle and give back whenever there is something, until the process closes."""
        buffer, closing = self.calls.supply.buffer, self.shutdown.closing
        try:
            while not closing.is_set():
                if not (buffer.stirred.wait(IDLE_SECONDS) or self.doubtful.has_held_back):
                    continue
                buffer.stirred.clear()
                while self._has_any() and not closing.wait(0 if buffer.is_piled() else TICK_SECONDS):
                    self._tidy()
        finally:
            self.database.close()

    def _has_any(self) -> bool:
        return self.calls.supply.buffer.has_any() or self.doubtful.has_due()

    def _tidy(self) -> None:
        buffer, outage = self.calls.supply.buffer, self.calls.link.outage
        try:
            if ended := buffer.begin_beside():
                self._settle_beside(ended)
            elif buffer.stands_still() and buffer.take_place():
                self._make_round_trip(giving_back=True)
            elif buffer.is_overdue() and buffer.take_place():
                self._make_round_trip(giving_back=False)
            self.doubtful.settle()
        except (DatabaseUnavailable, Refusal) as error:
            outage.failed(error)
            outage.pause()
        except Exception:
            log.exception("settling failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
            self.shutdown.closing.wait(BUG_PAUSE_SECONDS)

    def _settle_beside(self, ended: Sequence[Ended]) -> None:
        try:
            if self.beside.settle(ended) is None:
                self.beside.link.outage.pause()
        finally:
            self.beside.supply.buffer.end_beside()

    def _make_round_trip(self, *, giving_back: bool) -> None:
        calls, buffer = self.calls, self.calls.supply.buffer
        try:
            if giving_back:
                calls.lanes.marks.given_back(running.job for running in buffer.empty())
            if calls.settle_ended() is None:
                calls.link.outage.pause()
        finally:
            buffer.done(leaving=True)
