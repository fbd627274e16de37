"""The purge of old rows, which any worker does now and then: keys, audit entries, workers that have ended, ticks, names
of queues, progress, errors, sessions, numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from haulier.domain.errors import Refusal, reason
from haulier.postgres.halves import in_order
from haulier.postgres.statements import Connection, rows

log = logging.getLogger(__name__)

AT_ONCE = 5000
# Fewer queues, since for each of them the jobs have to be looked at.
QUEUES_AT_ONCE = 500
# Of a schedule that seldom fires the last ticks are to be seen however old they are.
KEPT_TICKS = 10
# Far longer than ten minutes, after which a web process notes again that a queue is in use.
IDLE_QUEUE_SECONDS = 3600.0
# This long an operation can be bound to a preview.
PREVIEW_DAYS = 1
# The thread that looks at the groups of errors counts the numbers too, which are to be no older than 20 s.
ERRORS_SECONDS = 5.0


def purge_idempotency(conn: Connection, *, idempotency_days: int) -> int:
    """Forget the idempotency keys that are old enough and whose job has ended; return how many."""
    return purge_rows(conn, "purge_idempotency", idempotency_days=idempotency_days)


def purge_audit(conn: Connection, *, retention_days: int) -> int:
    """Forget what was done longer ago than the history reaches; return how many entries."""
    return purge_rows(conn, "purge_audit", retention_days=retention_days)


def purge_workers(conn: Connection, *, retention_days: int) -> int:
    """Forget the workers that ended longer ago than the history reaches; return how many."""
    return purge_rows(conn, "purge_workers", retention_days=retention_days)


def purge_operations(conn: Connection, *, retention_days: int) -> int:
    """Forget operations that ended longer ago than the history reaches, and previews of a day ago; return how many."""
    ended = purge_rows(conn, "purge_operations", retention_days=retention_days)
    return ended + purge_rows(conn, "purge_previews", preview_days=PREVIEW_DAYS)


def purge_ticks(conn: Connection, *, retention_days: int) -> int:
    """Forget ticks decided longer ago than the history reaches, but not a schedule's last; return how many."""
    return purge_rows(conn, "purge_ticks", retention_days=retention_days, kept_ticks=KEPT_TICKS)


def purge_queues(conn: Connection) -> int:
    """Forget the names of queues that were not used for an hour and have no live job; return how many."""
    return purge_rows(conn, "purge_queues", QUEUES_AT_ONCE, idle=IDLE_QUEUE_SECONDS)


def purge_progress(conn: Connection) -> int:
    """Forget what was said under claims that run no more; return of how many."""
    return purge_rows(conn, "purge_progress")


def purge_sessions(conn: Connection) -> int:
    """Forget the dashboard's sessions that have expired; return how many."""
    return purge_rows(conn, "purge_sessions")


def purge_numbers(conn: Connection, *, retention_days: int) -> None:
    """Forget the counts of what came and ended before the history begins."""
    purge_rows(conn, "purge_rollups", retention_days=retention_days)
    purge_rows(conn, "purge_moved", retention_days=retention_days)


class Turn(NamedTuple):
    """What a turn of a purge has done. `after` is where the next one continues; None: at the start."""

    forgotten: int
    after: int | None


def purge_errors(conn: Connection, *, retention_days: int, after: int | None = None) -> Turn:
    """Forget counts of failed attempts as the history is forgotten, and groups without any; return how many groups.

    `after` comes from the turn before. A turn looks at groups for ERRORS_SECONDS, and goes round once at most.
    """
    purge_rows(conn, "purge_error_counts", retention_days=retention_days)
    until, forgotten, passed_over, is_whole = time.monotonic() + ERRORS_SECONDS, 0, 0, False

    def look(limit: int, offset: int) -> int:
        nonlocal forgotten, after, passed_over, is_whole
        # Unlike elsewhere, what was looked at stays, and is behind `after`.
        offset_there = offset - passed_over
        [found] = rows(
            conn,
            "purge_error_groups",
            retention_days=retention_days,
            after_error=after,
            limit=limit,
            offset=offset_there,
        )
        forgotten, passed_over, is_whole = forgotten + found["forgotten"], offset, found["seen"] < limit
        after = found["last"] or after
        return int(found["seen"]) if time.monotonic() < until else 0

    _, refusals = in_order(look, AT_ONCE)
    _warn(refusals, "purge_error_groups")
    return Turn(forgotten, None if is_whole else after)


def purge_rows(conn: Connection, name: str, at_once: int | None = None, **parameters: Any) -> int:
    """Delete rows by a statement, this many at once, until none is left; return how many.

    Rows that the database refuses to delete stay, and the log says how many and why.
    """

    def some(limit: int, offset: int) -> int:
        return len(rows(conn, name, limit=limit, offset=offset, **parameters))

    purged, refusals = in_order(some, at_once or AT_ONCE)
    _warn(refusals, name)
    return purged


def _warn(refusals: Sequence[Refusal], name: str) -> None:
    if refusals:
        log.warning("the database refuses %s for %d rows, which are kept: %s", name, len(refusals), reason(refusals[0]))
