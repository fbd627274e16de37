"""What has to be done now and then, by any worker: partitions made and dropped, old idempotency keys and audit entries
forgotten."""

from __future__ import annotations

from app.queue.connection import Connection, rows

KEYS_AT_ONCE = 5000
ACTIONS_AT_ONCE = 5000


def purge_keys(conn: Connection, *, idempotency_days: int) -> int:
    """Forget the idempotency keys that are old enough and whose job has ended; return how many."""
    purged = 0
    while True:
        batch = len(rows(conn, "purge_keys", idempotency_days=idempotency_days, limit=KEYS_AT_ONCE))
        purged += batch
        if batch < KEYS_AT_ONCE:
            return purged


def purge_audit(conn: Connection, *, retention_days: int) -> int:
    """Forget what was done longer ago than the history reaches; return how many entries."""
    purged = 0
    while True:
        batch = len(rows(conn, "purge_audit", retention_days=retention_days, limit=ACTIONS_AT_ONCE))
        purged += batch
        if batch < ACTIONS_AT_ONCE:
            return purged
