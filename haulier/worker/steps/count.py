"""Counts the numbers, in one worker process at a time: see haulier/queue/numbers/counts.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID, uuid4

from haulier.domain.errors import DatabaseUnavailable, Refusal, reason
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue.failures import error_counts
from haulier.queue.numbers import counts, depths
from haulier.worker.link.outage import Outage
from haulier.worker.steps.sparing_log import SparingLog

# After an error, and for what is done once a minute.
RETRY_SECONDS, MINUTE_SECONDS = 10.0, 60.0
# If no process counts, or the one that does is about to end.
SOON_SECONDS = 1.0
# If much is left to be counted, the pause is this many times as long as the last span took: jobs go first.
BEHIND_PAUSE = 4.0
# Call again this long after the next span has ended.
MARGIN_SECONDS = 0.2

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Counting:
    """Counts while it is this process's turn; only the process whose turn it is keeps a connection open for that."""

    database: Database
    outage: Outage
    retention_days: int
    _id: UUID = field(init=False, default_factory=uuid4)
    _most_seconds: int = field(init=False, default=counts.MOST_SECONDS)
    _minute_ends_at: float = field(init=False, default=float("-inf"))
    _live_at: float = field(init=False, default=float("-inf"))
    _log: SparingLog = field(init=False, default_factory=lambda: SparingLog(log))

    def turn(self) -> float:
        """Count what is new, and return after how many seconds to call again."""
        began_at = time.monotonic()
        counted = self._try(lambda conn: counts.count(conn, counter=self._id, most_seconds=self._most_seconds))
        if isinstance(counted, counts.Counted):
            self._most_seconds = min(2 * self._most_seconds, counts.MOST_SECONDS)
            return self._count_more(counted, began_at)
        if counted is None:
            return self._wait_for_turn()
        # The span may have been too long.
        self._most_seconds = max(self._most_seconds // 2 // 10 * 10, counts.SLICE_SECONDS)
        return RETRY_SECONDS

    def _count_more(self, counted: counts.Counted, began_at: float) -> float:
        if counted.is_behind:
            return BEHIND_PAUSE * (time.monotonic() - began_at)
        if counted.is_live_wanted:
            self._count_live()
        if began_at >= self._minute_ends_at:
            self._minute_ends_at = began_at + MINUTE_SECONDS
            self._try(counts.summarize)
            self._try(lambda conn: counts.fold(conn, retention_days=self.retention_days))
            self._try(error_counts.fold)
            late = self._try(counts.recount_next)
            if isinstance(late, counts.Late) and any(late):
                log.info("counted late: %d jobs arrived and %d ended in long transactions", *late)
        return max(counted.next_in + MARGIN_SECONDS - (time.monotonic() - began_at), MARGIN_SECONDS)

    def _count_live(self) -> None:
        began_at = time.monotonic()
        if began_at >= self._live_at and isinstance(self._try(depths.count_live), Exception):
            # If there are too many to be counted in time, the database has not noted how long it took.
            self._live_at = began_at + counts.LIVE_PAUSE * (time.monotonic() - began_at)

    def _wait_for_turn(self) -> float:
        seconds = self._try(counts.counting_ends_in)
        self.database.close()
        if not isinstance(seconds, float):
            return RETRY_SECONDS
        # The other process stays longer, unless it has died.
        return max(seconds, SOON_SECONDS)

    def leave(self) -> None:
        """Let another process count."""
        self._try(lambda conn: counts.leave(conn, counter=self._id))
        self.database.close()

    def _try(self, task: Callable[[Connection], T]) -> T | Exception:
        """Return what the task returns, or the error that it raised, logged: numbers can wait, jobs cannot."""
        try:
            with self.database.connection() as conn:
                return task(conn)
        except Exception as error:
            if isinstance(error, DatabaseUnavailable) and not isinstance(error, Refusal):
                self.outage.failed(error)
            else:
                self._log.warning(f"counting failed and will be retried: {reason(error)}")
            return error
