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
        """Listen until the process closes."""
        station = self._station
        while not station.closing.is_set():
            conn: Connection | None = None
            try:
                conn = connect(station.config.database_url, application_name="haulier listener")
                listen(conn)
                # What came while nobody listened.
                station.lookout.ring()
                station.pulse_wanted.set()
                for knock in knocks(conn, wait=WAIT_SECONDS, probe=PROBE_SECONDS):
                    self.heard_at = time.monotonic()
                    if station.closing.is_set():
                        break
                    self._pass_on(knock)
            except DatabaseUnavailable as error:
                station.outage.failed(error)
                station.closing.wait(AWAY_PAUSE_SECONDS)
            finally:
                if conn is not None:
                    close(conn)

    def _pass_on(self, knock: Knock | None) -> None:
        if knock is None:
            return
        if knock.is_for_work:
            self._station.lookout.ring()
        elif knock.worker_id == self._station.lease.registered_as:
            self._station.pulse_wanted.set()
