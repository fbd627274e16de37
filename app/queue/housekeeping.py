"""What has to be done now and then, by any worker: partitions made and dropped, old idempotency keys and audit entries
forgotten."""

from __future__ import annotations

from collections.abc import Callable

from app.queue.connection import Connection, Row, rows

AT_ONCE = 5000


def purge_keys(conn: Connection, *, idempotency_days: int) -> int:
    """Forget the idempotency keys that are old enough and whose job has ended; return how many."""
    return _purge(lambda: rows(conn, "purge_keys", idempotency_days=idempotency_days, limit=AT_ONCE))


def purge_audit(conn: Connection, *, retention_days: int) -> int:
    """Forget what was done longer ago than the history reaches; return how many entries."""
    return _purge(lambda: rows(conn, "purge_audit", retention_days=retention_days, limit=AT_ONCE))


def _purge(some: Callable[[], list[Row]]) -> int:
    purged = 0
    while True:
        batch = len(some())
        purged += batch
        if batch < AT_ONCE:
            return purged
