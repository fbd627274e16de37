"""The thread that makes the history's partitions ahead of time, every hour, and counts the numbers in between.

Its connection is open only while it works, except in the one process that counts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from haulier.config import Config
from haulier.domain.errors import DatabaseUnavailable, Locked, Refusal, reason
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue.upkeep.partitions import HistoryBlocked, drop_expired, ensure_partitions
from haulier.queue.upkeep.purge import (
    purge_audit,
    purge_errors,
    purge_idempotency,
    purge_operations,
    purge_progress,
    purge_queues,
    purge_sessions,
    purge_ticks,
    purge_workers,
)
from haulier.worker.link.outage import Outage
from haulier.worker.steps.count import Counting

PERIOD_SECONDS = 3600.0
# After an error: soon, or partitions that are made a week ahead could one day be missing.
RETRY_SECONDS = 60.0
# A process that has just started has jobs to run first.
COUNT_AFTER_SECONDS = 5.0

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Housekeeper(threading.Thread):
    """Tidies the database at the start and then every hour, and counts, if there is a `counting`."""

    config: Config
    database: Database
    outage: Outage
    closing: threading.Event
    counting: Counting | None = None

    def __post_init__(self) -> None:
        super().__init__(name="housekeeper", daemon=True)
        # When it last succeeded, by the monotonic clock.
        self.tidied_at = time.monotonic()
        # The group of errors after which the next purge continues; None: at the first.
        self._errors_after: int | None = None

    def run(self) -> None:
        """Tidy, and count, until the process closes."""
        tidy_at, has_counted = time.monotonic(), False
        count_at = tidy_at + COUNT_AFTER_SECONDS if self.counting else float("inf")
        while True:
            if time.monotonic() >= tidy_at:
                tidy_at = time.monotonic() + (PERIOD_SECONDS if self.tidy() else RETRY_SECONDS)
            if self.counting and time.monotonic() >= count_at:
                has_counted, seconds = True, self.counting.turn()
                count_at = time.monotonic() + seconds
            if self.closing.wait(max(0.0, min(tidy_at, count_at) - time.monotonic())):
                break
        if self.counting and has_counted:
            self.counting.leave()

    def tidy(self) -> bool:
        """Make missing partitions, drop expired ones, delete what is old; return whether all of it was done.

        Each task runs by itself, so that one that fails does not keep the others from being done.
        """
        days, key_days = self.config.retention_days, self.config.idempotency_days
        purges = (purge_audit, purge_workers, purge_operations, purge_ticks)
        try:
            made = self._try(partial(ensure_partitions, retention_days=days))
            forgotten = self._try(partial(purge_idempotency, idempotency_days=key_days))
            purged = [self._try(partial(purge, retention_days=days)) for purge in purges]
            purged += [self._try(purge) for purge in (purge_queues, purge_progress, self._purge_errors, purge_sessions)]
        finally:
            self.database.close()
        dropped = self._try_to(self._drop_expired)
        if made or dropped or forgotten:
            log.info(
                "housekeeping: partitions created %s, dropped %s; %d idempotency keys deleted", made, dropped, forgotten
            )
        is_done = None not in (made, forgotten, *purged, dropped)
        if is_done:
            self.tidied_at = time.monotonic()
        return is_done

    def _try(self, task: Callable[[Connection], T]) -> T | None:
        def do() -> T:
            with self.database.connection() as conn:
                return task(conn)

        return self._try_to(do)

    def _try_to(self, do: Callable[[], T]) -> T | None:
        """Return what the task returns; None, logged, if it could not be done."""
        try:
            return do()
        except Locked:
            # Not an outage: another transaction reads the history, and dropping old partitions can wait.
            log.info("the history is in use: housekeeping continues in %.0f s", RETRY_SECONDS)
        except HistoryBlocked as error:
            # Only an operator can help.
            log.error("%s", error)
        except Refusal as error:
            log.error(
                "the database refuses a task of housekeeping, trying again in %.0f s: %s", RETRY_SECONDS, reason(error)
            )
        except DatabaseUnavailable as error:
            self.outage.failed(error)
        # Perhaps a table was changed: the error must be logged, and must not end the thread.
        except Exception:
            log.exception("housekeeping failed; trying again in %.0f s", RETRY_SECONDS)
        return None

    def _purge_errors(self, conn: Connection) -> int:
        done = purge_errors(conn, retention_days=self.config.retention_days, after=self._errors_after)
        self._errors_after = done.after
        return done.forgotten

    def _drop_expired(self) -> list[str]:
        config = self.config
        try:
            return drop_expired(config.direct_url, retention_days=config.retention_days)
        except DatabaseUnavailable:
            if config.direct_url == config.database_url:
                raise
            # Behind a pool it waits for locks for a shorter time and succeeds less often, which is better than never.
            return drop_expired(config.database_url, retention_days=config.retention_days)
