"""The thread that turns the database's knocks into wake-ups. An accelerator: without it, polling finds everything."""

from __future__ import annotations

import logging
import threading
import time

from app.domain.errors import DatabaseUnavailable
from app.queue.connection import Connection, close, connect
from app.queue.listen import Knock, knocks, listen
from app.worker.station import Station

# How often a silent connection is asked whether it still lives.
PROBE_SECONDS = 10.0
WAIT_SECONDS = 0.5
AWAY_PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Listener(threading.Thread):
    """Holds one LISTEN connection, and opens it anew when it breaks."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="listener", daemon=True)
        self._station = station
        # When it last went round with a good connection, by the monotonic clock.
        self.heard_at = time.monotonic()

    def run(self) -> None:
        """Listen until the process closes; with wake-ups off only wait for that."""
        station = self._station
        if station.config.wake_ups == "off":
            while not station.closing.wait(WAIT_SECONDS):
                self.heard_at = time.monotonic()
        while not station.closing.is_set():
            conn: Connection | None = None
            try:
                conn = connect(station.config.database_url, application_name="haulier listener")
                self._listen(conn)
            except DatabaseUnavailable as error:
                station.outage.failed(error)
                station.closing.wait(AWAY_PAUSE_SECONDS)
            finally:
                station.slumber.is_deaf()
                if conn is not None:
                    close(conn)

    def _listen(self, conn: Connection) -> None:
        station = self._station
        listen(conn)
        station.slumber.hears()
        # What came while nobody listened.
        station.lookout.ring()
        station.pulse_wanted.set()
        for knock in knocks(conn, wait=WAIT_SECONDS, probe=PROBE_SECONDS):
            self.heard_at = time.monotonic()
            if station.closing.is_set():
                return
            if knock is not None:
                self._answer(knock, conn)

    def _answer(self, knock: Knock, conn: Connection) -> None:
        station = self._station
        if knock.is_for_work:
            station.slumber.knocked()
        if knock.worker_id not in (None, station.lease.registered_as):
            return
        if not knock.is_for_work:
            station.pulse_wanted.set()
            return
        # Also where nobody can take it now: a thread may be free in a moment.
        station.lookout.ring()
        if knock.worker_id is not None and self._is_taken():
            station.slumber.pass_on(conn)

    def _is_taken(self) -> bool:
        """Tell whether no thread could take a job now."""
        station = self._station
        is_full = station.buffer.running >= station.config.worker_threads
        return is_full or station.lookout.is_reserved or station.stopping.is_set()
