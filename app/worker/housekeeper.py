"""The thread that keeps the history's partitions ahead of the clock, hourly; its connection is open only meanwhile."""

from __future__ import annotations

import logging
import threading
import time

from app.domain.errors import DatabaseUnavailable, Locked
from app.queue.connection import Connection
from app.queue.history import HistoryBlocked, drop_expired, ensure_partitions
from app.queue.housekeeping import purge_audit, purge_keys
from app.worker.station import Station

PERIOD_SECONDS = 3600.0
# After an error: sooner, for a missing partition in a week is a missing partition.
RETRY_SECONDS = 60.0

log = logging.getLogger(__name__)


class Housekeeper(threading.Thread):
    """Tidies the database at the start and then every hour."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="housekeeper", daemon=True)
        self._station = station
        # When it last succeeded, by the monotonic clock.
        self.tidied_at = time.monotonic()

    def run(self) -> None:
        """Tidy until the process closes."""
        while True:
            wait = PERIOD_SECONDS
            try:
                self.tidy()
            except Locked:
                # The database is not away: somebody reads the history, and the old can wait.
                log.info("the history is in use: what is left to tidy is tried again in %.0f s", RETRY_SECONDS)
                wait = RETRY_SECONDS
            except DatabaseUnavailable as error:
                self._station.outage.failed(error)
                wait = RETRY_SECONDS
            # A right is missing, or somebody changed a table: it must be seen, and must not end the thread.
            except Exception:
                log.exception("housekeeping failed; trying again in %.0f s", RETRY_SECONDS)
                wait = RETRY_SECONDS
            if self._station.closing.wait(wait):
                return

    def tidy(self) -> None:
        """Make the partitions that are missing, drop those that are old, forget old keys."""
        station, config = self._station, self._station.config
        try:
            with station.database.connection() as conn:
                made = self._ensure_partitions(conn)
                forgotten = purge_keys(conn, idempotency_days=config.idempotency_days)
                purge_audit(conn, retention_days=config.retention_days)
        finally:
            station.database.close()
        dropped = self._drop_expired()
        self.tidied_at = time.monotonic()
        if made or dropped or forgotten:
            log.info("tidied: partitions made %s, dropped %s; %d idempotency keys forgotten", made, dropped, forgotten)

    def _ensure_partitions(self, conn: Connection) -> list[str]:
        try:
            return ensure_partitions(conn, retention_days=self._station.config.retention_days)
        except HistoryBlocked as error:
            # Only an operator can help, and the rest can be done all the same.
            log.error("%s", error)
            return []

    def _drop_expired(self) -> list[str]:
        config = self._station.config
        try:
            return drop_expired(config.direct_url, retention_days=config.retention_days)
        except DatabaseUnavailable:
            if config.direct_url == config.database_url:
                raise
            # Through the pool it waits for less, and so is done less often, but it is done.
            return drop_expired(config.database_url, retention_days=config.retention_days)
