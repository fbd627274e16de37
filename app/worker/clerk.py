"""The thread that sees to what the others leave lying: late outcomes, jobs that would wait, and what did not settle."""

from __future__ import annotations

import logging
import threading

from app.domain.errors import DatabaseUnavailable, Locked
from app.worker.exchange import exchange, settle_alone
from app.worker.pace import WINDOW_SECONDS
from app.worker.station import Station

TICK_SECONDS = WINDOW_SECONDS / 2
# Jobs that were claimed ahead go back when none of them was started for so long: those before them are slow.
STANDSTILL_SECONDS = 2 * WINDOW_SECONDS
IDLE_SECONDS = 0.25
AWAY_PAUSE_SECONDS = 0.5
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


class Clerk(threading.Thread):
    """Keeps the promise that nothing waits in this process for longer than the window."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="clerk", daemon=True)
        self._station = station

    def run(self) -> None:
        """Tidy up whenever there is something, until the process closes."""
        station = self._station
        try:
            while not station.closing.is_set():
                if not station.buffer.stirred.wait(IDLE_SECONDS):
                    continue
                station.buffer.stirred.clear()
                while station.buffer.has_any() and not station.closing.wait(TICK_SECONDS):
                    self._tidy()
        finally:
            station.database.close()

    def _tidy(self) -> None:
        station = self._station
        try:
            if station.buffer.stands_still(STANDSTILL_SECONDS) and station.buffer.take_place():
                self._exchange(giving_back=True)
            elif station.buffer.is_overdue() and station.buffer.take_place():
                self._exchange(giving_back=False)
            self._settle_doubtful()
        except Locked:
            log.debug("somebody has locked the row of an outcome, which is tried again", exc_info=True)
        except DatabaseUnavailable as error:
            station.outage.failed(error)
            station.closing.wait(AWAY_PAUSE_SECONDS)
        except Exception:
            log.exception("the clerk's round failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
            station.closing.wait(BUG_PAUSE_SECONDS)

    def _exchange(self, *, giving_back: bool) -> None:
        station = self._station
        try:
            if giving_back:
                station.lanes.given_back([running.job for running in station.buffer.empty()])
            if exchange(station, station.buffer.place(), claiming=False) is None:
                station.closing.wait(AWAY_PAUSE_SECONDS)
        finally:
            station.buffer.done(leaving=True)

    def _settle_doubtful(self) -> None:
        batch = self._station.buffer.collect_doubtful()
        try:
            while batch:
                settle_alone(self._station, batch[0])
                batch.pop(0)
        except Locked:
            # That may last for long: next time the others come first.
            batch.append(batch.pop(0))
            raise
        finally:
            if batch:
                self._station.buffer.doubt(batch)
