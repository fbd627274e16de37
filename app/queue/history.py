"""The history's partitions: made days ahead, since without one nothing can settle, and dropped with what they hold."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from psycopg2 import errors

from app.queue.connection import Connection, Row, connect, ddl, rows, transaction, translated

T = TypeVar("T")
log = logging.getLogger(__name__)

DAYS_AHEAD = 7
# DDL must not make the service queue up behind it: it gives up, and is tried again later.
DDL_LOCK_SECONDS = 1.0


def step(retention_days: int) -> str:
    """Return how long a partition is, so that about 60 hold the history: look-ups by id probe each of them."""
    if retention_days <= 31:
        return "day"
    return "week" if retention_days <= 370 else "month"


def ensure_partitions(conn: Connection, *, retention_days: int) -> list[str]:
    """Make the partitions that are missing up to DAYS_AHEAD from now, and return their names.

    Two callers at once take turns. Each partition is a transaction of its own.
    """
    made: list[str] = []
    while True:
        with transaction(conn, lock_seconds=DDL_LOCK_SECONDS):
            rows(conn, "lock_migration")
            present = [found for found in rows(conn, "partitions") if not found["detaching"]]
            last_upper = present[-1]["upper"] if present else None
            wanted = rows(
                conn, "partition_to_add", last_upper=last_upper, step=step(retention_days), days_ahead=DAYS_AHEAD
            )
            if not wanted:
                return made
            ddl(conn, "add_partition", identifier=wanted[0]["name"], lower=wanted[0]["lower"], upper=wanted[0]["upper"])
        made.append(wanted[0]["name"])


def drop_expired(url: str, *, retention_days: int) -> list[str]:
    """Drop the partitions in which every job finished more than retention_days ago, and return their names.

    On a connection of its own, because DETACH CONCURRENTLY may be in no transaction and its lock_timeout is set for
    the session.
    """
    conn = connect(url, application_name="haulier housekeeping")
    try:
        with translated():
            return _drop_expired(conn, retention_days)
    finally:
        conn.close()


def _drop_expired(conn: Connection, retention_days: int) -> list[str]:
    rows(conn, "session_lock_timeout", milliseconds=int(DDL_LOCK_SECONDS * 1000))
    present = rows(conn, "partitions")
    for found in present:
        if found["detaching"]:
            ddl(conn, "finish_detach", identifier=found["name"])
    for name in _expired([found for found in present if not found["detaching"]], conn, retention_days):
        ddl(conn, "mark_expired", identifier=name)
        ddl(conn, "detach_partition", identifier=name)
    dropped = [row["name"] for row in rows(conn, "detached_partitions")]
    for name in dropped:
        ddl(conn, "drop_partition", identifier=name)
    return dropped


def _expired(present: list[Row], conn: Connection, retention_days: int) -> list[str]:
    names, uppers = [found["name"] for found in present], [found["upper"] for found in present]
    return [
        row["name"]
        for row in rows(conn, "partitions_to_drop", names=names, uppers=uppers, retention_days=retention_days)
    ]


def days_ahead(conn: Connection) -> float:
    """Return for how many days from now there is a partition to settle into; negative when settling has stopped."""
    [row] = rows(conn, "history_days_ahead")
    return float(row["days"]) if row["days"] is not None else 0.0


def with_history(conn: Connection, write: Callable[[], T]) -> T:
    """Return what the write returns; where history had no partition for now, one is made and the write done again.

    Not inside a transaction of the caller's, which such a failure has already ended.
    """
    try:
        return write()
    except errors.CheckViolation as error:
        # "no partition of relation found for row" shares its SQLSTATE with CHECKs, but names no constraint.
        if error.diag.constraint_name is not None or not conn.autocommit:
            raise
        log.warning("history had no partition for now: making it")
        ensure_partitions(conn, retention_days=1)
        return write()
