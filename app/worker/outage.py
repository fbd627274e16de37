"""Says once that the database is away and once that it is back, however many threads notice."""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger(__name__)


class Outage:
    """The process's view of whether the database answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None

    def failed(self, error: Exception) -> None:
        """Note that a call failed."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        cause = str(error.__cause__ or error).strip().splitlines()
        log.warning("the database is away, trying again: %s", cause[0] if cause else error)

    def succeeded(self) -> None:
        """Note that a call succeeded."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("the database is back after %.1f s", time.monotonic() - since)
