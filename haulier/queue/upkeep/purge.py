"""The purge of old rows, which any worker does now and then: keys, audit entries, workers that have ended, ticks, names
of queues, progress, errors, sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from haulier.postgres.statements import Connection, Row, rows

AT_ONCE = 5000
# Fewer queues, since for each of them the jobs have to be looked at.
QUEUES_AT_ONCE = 500
# Of a schedule that seldom fires the last ticks are to be seen however old they are.
KEPT_TICKS = 10
# Far longer than ten minutes, after which a web process notes again that a queue is in use.
IDLE_QUEUE_SECONDS = 3600.0
# So long an operation can be bound to a preview.
PREVIEW_DAYS = 1
# The thread that looks at the groups of errors counts the numbers too, which are to be no older than 20 s.
ERRORS_SECONDS = 5.0


def purge_idempotency(conn: Connection, *, idempotency_days: int) -> int:
    """Forget the idempotency keys that are old enough and whose job has ended; return how many."""
    return _purge(lambda: rows(conn, "purge_idempotency", idempotency_days=idempotency_days, limit=AT_ONCE), AT_ONCE)


def purge_audit(conn: Connection, *, retention_days: int) -> int:
    """Forget what was done longer ago than the history reaches; return how many entries."""
    return _purge(lambda: rows(conn, "purge_audit", retention_days=retention_days, limit=AT_ONCE), AT_ONCE)


def purge_workers(conn: Connection, *, retention_days: int) -> int:
    """Forget the workers that ended longer ago than the history reaches; return how many."""
    return _purge(lambda: rows(conn, "purge_workers", retention_days=retention_days, limit=AT_ONCE), AT_ONCE)


def purge_operations(conn: Connection, *, retention_days: int) -> int:
    """Forget operations that ended longer ago than the history reaches, and previews of a day ago; return how many."""
    ended = _purge(lambda: rows(conn, "purge_operations", retention_days=retention_days, limit=AT_ONCE), AT_ONCE)
    return ended + _purge(lambda: rows(conn, "purge_previews", preview_days=PREVIEW_DAYS, limit=AT_ONCE), AT_ONCE)


def purge_ticks(conn: Connection, *, retention_days: int) -> int:
    """Forget ticks decided longer ago than the history reaches, but not a schedule's last; return how many."""

    def some() -> list[Row]:
        return rows(conn, "purge_ticks", retention_days=retention_days, kept_ticks=KEPT_TICKS, limit=AT_ONCE)

    return _purge(some, AT_ONCE)


def purge_queues(conn: Connection) -> int:
    """Forget the names of queues that were not used for an hour and have no live job; return how many."""
    return _purge(lambda: rows(conn, "purge_queues", idle=IDLE_QUEUE_SECONDS, limit=QUEUES_AT_ONCE), QUEUES_AT_ONCE)


def purge_progress(conn: Connection) -> int:
    """Forget what was said under claims that run no more; return of how many."""
    return _purge(lambda: rows(conn, "purge_progress", limit=AT_ONCE), AT_ONCE)


def purge_sessions(conn: Connection) -> int:
    """Forget the dashboard's sessions that have expired; return how many."""
    return _purge(lambda: rows(conn, "purge_sessions", limit=AT_ONCE), AT_ONCE)


class Turn(NamedTuple):
    """What a turn of a purge has done. Shape: after is where the next one goes on; None: at the start."""

    forgotten: int
    after: int | None


def purge_errors(conn: Connection, *, retention_days: int, after: int | None = None) -> Turn:
    """Forget counts of failed attempts as the history is forgotten, and groups without any; return how many groups.

    Shape: after is that of the turn before. A turn looks at groups for ERRORS_SECONDS, and goes round once at most.
    """
    _purge(lambda: rows(conn, "purge_error_counts", retention_days=retention_days, limit=AT_ONCE), AT_ONCE)
    until, forgotten = time.monotonic() + ERRORS_SECONDS, 0
    while True:
        [found] = rows(conn, "purge_error_groups", retention_days=retention_days, after_error=after, limit=AT_ONCE)
        forgotten += found["forgotten"]
        after = found["last"] if found["seen"] == AT_ONCE else None
        if after is None or time.monotonic() >= until:
            return Turn(forgotten, after)


def _purge(some: Callable[[], list[Row]], at_once: int) -> int:
    purged = 0
    while True:
        batch = len(some())
        purged += batch
        if batch < at_once:
            return purged
