"""Whether the database answers: logged once when it goes away and once when it is back, for all threads."""

from __future__ import annotations

import logging
import threading
import time

from haulier.domain.errors import Refusal, TooManyConnections, reason

# The pause after a failed call; short, so that work continues within a second of the database's return.
AWAY_PAUSE_SECONDS = 0.5
# If some connections are good and others are not, calls fail and succeed by turns: log that at most this often.
QUIET_SECONDS = 10.0

log = logging.getLogger(__name__)


class Outage:
    """Whether the database answers, as this process knows. `closing` ends a pause; up to `threads` fail at once."""

    def __init__(self, closing: threading.Event, *, threads: int) -> None:
        self._closing = closing
        self._threads = threads
        self._changed = threading.Condition()
        self._since: float | None = None
        self._failures = 0
        self._said_at = float("-inf")
        self._is_said = False

    def failed(self, error: Exception) -> None:
        """Note that a call failed."""
        with self._changed:
            self._failures += 1
            now = time.monotonic()
            if self._since is None:
                self._since = now
            if self._is_said or now - self._said_at < QUIET_SECONDS:
                return
            self._said_at, self._is_said = now, True
        cause = reason(error)
        if isinstance(error, TooManyConnections):
            log.warning("the database accepts no more connections, trying again: %s", cause)
        elif isinstance(error, Refusal):
            log.error("the database refuses a statement, trying again: %s", cause)
        else:
            log.warning("the database is away, trying again: %s", cause)

    def succeeded(self) -> None:
        """Note that a call succeeded."""
        if self._since is None:
            return
        with self._changed:
            since, self._since, self._failures = self._since, None, 0
            is_said, self._is_said = self._is_said, False
            self._changed.notify_all()
        if since is not None and is_said:
            log.warning("the database is back after %.1f s", time.monotonic() - since)

    def pause(self) -> None:
        """Wait before the next try after a failed call, unless the process closes."""
        self._closing.wait(AWAY_PAUSE_SECONDS)

    def wait_until_over(self) -> None:
        """Wait until a call succeeds, at most one pause for each failure in a row, and at most one for each thread.

        This many threads that fail together try no more often than one thread does.
        """
        with self._changed:
            longest = AWAY_PAUSE_SECONDS * min(self._threads, self._failures)
            self._changed.wait_for(lambda: self._since is None, longest)
