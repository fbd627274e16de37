"""The history's partitions: made days ahead, since without one nothing can settle, and dropped with what they hold."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from psycopg2 import errors

from app.domain.errors import DatabaseUnavailable
from app.queue.connection import Connection, Row, connect, ddl, is_pooled, rows, transaction, translated

T = TypeVar("T")
log = logging.getLogger(__name__)

DAYS_AHEAD = 7
# DDL must not make the service queue up behind it: it gives up, and is tried again later.
DDL_LOCK_SECONDS = 1.0
DDL_SECONDS = 60.0
# Where DETACH cannot be CONCURRENTLY, everything that settles stands behind it for as long as it waits.
STALL_SECONDS = 0.1


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
            lowers, uppers = _bounds(conn)
            wanted = rows(
                conn,
                "partition_to_add",
                lowers=lowers,
                uppers=uppers,
                step=step(retention_days),
                days_ahead=DAYS_AHEAD,
            )
            if not wanted:
                return made
            rows(conn, "act_as_owner", until_commit=True)
            ddl(conn, "add_partition", identifier=wanted[0]["name"], lower=wanted[0]["lower"], upper=wanted[0]["upper"])
        made.append(wanted[0]["name"])


def drop_expired(url: str, *, retention_days: int) -> list[str]:
    """Drop the partitions in which every job finished more than retention_days ago, and return their names.

    On a connection of its own, because DETACH CONCURRENTLY may be in no transaction and its lock_timeout is set for
    the session. Behind a pool a session's setting is neither ours nor only ours: there DETACH is in a transaction, and
    gives up very soon.
    """
    conn = connect(url, application_name="haulier housekeeping")
    try:
        with translated():
            return _drop_expired(conn, retention_days)
    finally:
        conn.close()


def _drop_expired(conn: Connection, retention_days: int) -> list[str]:
    for found in rows(conn, "partitions"):
        if found["detaching"]:
            _ddl_unless_gone(conn, "finish_detach", found["name"])
    attached = _attached(conn)
    names, uppers = [found["name"] for found in attached], [found["upper"] for found in attached]
    for found in rows(conn, "partitions_to_drop", names=names, uppers=uppers, retention_days=retention_days):
        _ddl_unless_gone(conn, "mark_expired", found["name"])
        _detach(conn, found["name"])
    detached = [found["name"] for found in rows(conn, "detached_partitions")]
    return [name for name in detached if _ddl_unless_gone(conn, "drop_partition", name)]


def _detach(conn: Connection, name: str) -> None:
    if is_pooled(conn):
        _ddl_unless_gone(conn, "detach_partition", name, lock_seconds=STALL_SECONDS)
        return
    rows(conn, "session_lock_timeout", lock_milliseconds=int(DDL_LOCK_SECONDS * 1000))
    rows(conn, "act_as_owner", until_commit=False)
    with suppress(errors.UndefinedTable):
        ddl(conn, "detach_partition_in_session", identifier=name)


def _ddl_unless_gone(conn: Connection, statement: str, name: str, *, lock_seconds: float = DDL_LOCK_SECONDS) -> bool:
    """Run the statement; False when another process that does the same was quicker."""
    try:
        with transaction(conn, seconds=DDL_SECONDS, lock_seconds=lock_seconds):
            rows(conn, "act_as_owner", until_commit=True)
            ddl(conn, statement, identifier=name)
    except errors.UndefinedTable:
        return False
    return True


def _attached(conn: Connection) -> list[Row]:
    return [found for found in rows(conn, "partitions") if not found["detaching"]]


def _bounds(conn: Connection) -> tuple[list[datetime | None], list[datetime | None]]:
    attached = _attached(conn)
    return [found["lower"] for found in attached], [found["upper"] for found in attached]


def days_ahead(conn: Connection) -> float:
    """Return for how many days from now there are partitions to settle into; 0 when settling has stopped."""
    lowers, uppers = _bounds(conn)
    [row] = rows(conn, "history_days_ahead", lowers=lowers, uppers=uppers)
    return float(row["days"])


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
        try:
            ensure_partitions(conn, retention_days=1)
        except errors.InsufficientPrivilege as denied:
            # The API's own role, if it has one, may not; a worker's may, and does.
            raise DatabaseUnavailable("History has no partition for now, and a worker has to make one.") from denied
        return write()
