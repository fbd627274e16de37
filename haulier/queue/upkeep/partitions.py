"""The history's partitions: made days ahead, since nothing settles without one, and dropped whole when they expire."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from haulier.domain.errors import DatabaseUnavailable, HaulierError
from haulier.postgres.connection import connect, is_pooled
from haulier.postgres.errors import PostgresError, lacks_partition, sqlstate, translated
from haulier.postgres.statements import Connection, Row, ddl, rows, transaction

T = TypeVar("T")
log = logging.getLogger(__name__)

DAYS_AHEAD = 7
# Other statements queue up behind DDL that waits for a lock, so it gives up soon, and is retried later. The
# functions of schema.sql set a lock_timeout of their own.
DDL_LOCK_SECONDS = 1.0
DDL_SECONDS = 60.0
# Finishing a detach also waits for older snapshots, and must give up before an attempt to add a partition does.
FINISH_SECONDS = 0.5


class HistoryBlocked(HaulierError):
    """Somebody changed the history's partitions so that none can be added."""


def step(retention_days: int) -> str:
    """Return how long a partition is, so that about 60 hold the history: look-ups by id probe each of them."""
    if retention_days <= 31:
        return "day"
    return "week" if retention_days <= 370 else "month"


def ensure_partitions(conn: Connection, *, retention_days: int) -> list[str]:
    """Make the partitions that are missing up to DAYS_AHEAD from now, and return their names.

    Two callers at once take turns. Each partition is its own transaction.

    Raises: HistoryBlocked, which says what to do.
    """
    for found in rows(conn, "partitions"):
        if found["in_the_way"]:
            # If readers still hold up the detach, the partitions of other days are made all the same.
            with suppress(sqlstate.OperationalError):
                _change(conn, "finish_detach", table=found["table"], seconds=FINISH_SECONDS)
    made: list[str] = []
    # Asking takes no lock and no right: mostly nothing is missing.
    while _wanted(conn, retention_days):
        made += _add(conn, retention_days)
    return made


def _add(conn: Connection, retention_days: int) -> list[str]:
    try:
        with transaction(conn):
            [added] = rows(conn, "add_partition", step=step(retention_days), days_ahead=DAYS_AHEAD)
        return [str(added["name"])] if added["name"] else []
    except sqlstate.CheckViolation as error:
        raise HistoryBlocked(
            "haulier.finished_job has a DEFAULT partition, whose rows keep their days from getting a partition:"
            ' see docs/database.md, "Days ahead"'
        ) from error


def _wanted(conn: Connection, retention_days: int) -> list[Row]:
    return rows(conn, "partition_to_add", step=step(retention_days), days_ahead=DAYS_AHEAD)


def drop_expired(url: str, *, retention_days: int) -> list[str]:
    """Drop the partitions in which every job finished more than retention_days ago, and return their names.

    It opens its own connection: DETACH CONCURRENTLY cannot run in a transaction, so its lock_timeout has to be set
    for the session. Behind a pool, if other clients share the session, and under a role without the owner's rights,
    a function of schema.sql detaches in a transaction instead, and gives up very soon. A partition that cannot be
    dropped does not hold up the others; its error is raised at the end.
    """
    conn = connect(url, application_name="haulier housekeeping")
    try:
        with translated():
            return _Sweep(conn).drop(retention_days)
    finally:
        conn.close()


class _Sweep:
    """One round of dropping partitions; an error with one of them is kept, and the round continues."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._in_session = False
        self._problems: list[PostgresError] = []

    def drop(self, retention_days: int) -> list[str]:
        present = rows(self._conn, "partitions")
        for found in present:
            if found["detaching"]:
                self._try(found["table"], self._finish)
        default = next((found for found in present if found["is_default"]), None)
        if default is not None:
            log.warning(
                "haulier.finished_job has a DEFAULT partition, %s.%s: its rows are never dropped, and other"
                    " partitions are"
                ' dropped only while no query reads the history. See docs/database.md, "Days ahead"',
                default["schema"], default["name"],
            )  # fmt: skip
        attached = [found for found in present if not found["detaching"] and not found["is_default"]]
        tables, uppers = [found["table"] for found in attached], [found["upper"] for found in attached]
        self._in_session = default is None and self._may_detach_in_session()
        for found in rows(
            self._conn, "partitions_to_drop", tables=tables, uppers=uppers, retention_days=retention_days
        ):
            # A reader of the history stands in the way of each detach: the others would fail too.
            if self._try(found["table"], lambda table: self._detach(table, retention_days)) is None:
                break
        dropped = [self._try(found["table"], self._drop) for found in rows(self._conn, "detached_partitions")]
        if self._problems:
            raise self._problems[0]
        return [name for name in dropped if name]

    def _may_detach_in_session(self) -> bool:
        [owner] = rows(self._conn, "owns_history")
        return bool(owner["owns"]) and not is_pooled(self._conn)

    def _try(self, table: int, act: Callable[[int], str]) -> str | None:
        try:
            return act(table)
        except PostgresError as error:
            if self._conn.closed:
                raise
            log.info("history partition %s cannot be dropped now: %s", table, str(error).strip())
            self._problems.append(error)
            return None

    def _finish(self, table: int) -> str:
        return _change(self._conn, "finish_detach", table=table, seconds=FINISH_SECONDS)

    def _detach(self, table: int, retention_days: int) -> str:
        if self._in_session:
            return self._detach_in_session(table, retention_days)
        return _change(self._conn, "detach_partition", table=table, retention_days=retention_days)

    def _detach_in_session(self, table: int, retention_days: int) -> str:
        for found in rows(self._conn, "mark_expired", table=table, retention_days=retention_days):
            rows(self._conn, "session_lock_timeout", lock_milliseconds=int(DDL_LOCK_SECONDS * 1000))
            with suppress(sqlstate.UndefinedTable):
                ddl(self._conn, "detach_partition_in_session", identifier=(found["schema"], found["name"]))
        return ""

    def _drop(self, table: int) -> str:
        return _change(self._conn, "drop_partition", table=table)


def _change(conn: Connection, statement: str, *, seconds: float = DDL_SECONDS, **parameters: Any) -> str:
    """Change a partition by a function of schema.sql, and return its name; "" if the partition is gone."""
    try:
        with transaction(conn, seconds=seconds):
            [changed] = rows(conn, statement, **parameters)
        return str(changed["name"] or "")
    # Another process was quicker.
    except (sqlstate.UndefinedTable, sqlstate.ObjectNotInPrerequisiteState):
        return ""


def _bounds(partitions: Iterable[Row]) -> tuple[list[datetime | None], list[datetime | None]]:
    bounds = [(found["lower"], found["upper"]) for found in partitions]
    return [lower for lower, _ in bounds], [upper for _, upper in bounds]


def days_ahead(conn: Connection) -> float:
    """Return for how many days from now there are partitions to settle into; 0 when settling has stopped.

    A DEFAULT partition, which takes every row, is not counted.
    """
    lowers, uppers = _bounds(
        found for found in rows(conn, "partitions") if not found["detaching"] and not found["is_default"]
    )
    [row] = rows(conn, "history_days_ahead", lowers=lowers, uppers=uppers)
    return float(row["days"])


def with_history(conn: Connection, write: Callable[[], T]) -> T:
    """Run the write and return its result; if history has no partition for now, make one and run the write again.

    Not inside a transaction of the caller's, which the first failure has already aborted.

    Raises: DatabaseUnavailable if no partition could be made: that is an outage, and no failure of the job.
    """
    try:
        return write()
    except sqlstate.CheckViolation as error:
        if not lacks_partition(error) or not conn.autocommit:
            raise
        log.warning("history has no partition for the current time: making one")
    try:
        ensure_partitions(conn, retention_days=1)
    except sqlstate.InsufficientPrivilege as denied:
        # A role of the API's own has no right to make partitions. A worker's has it, and makes them.
        raise DatabaseUnavailable(
            "History has no partition for the current time: a worker has to make one."
        ) from denied
    except (PostgresError, HistoryBlocked) as error:
        raise DatabaseUnavailable("History has no partition for the current time, and making one failed.") from error
    try:
        return write()
    except sqlstate.CheckViolation as error:
        if not lacks_partition(error):
            raise
        raise DatabaseUnavailable(_why_there_is_none(conn)) from None


def _why_there_is_none(conn: Connection) -> str:
    for found in rows(conn, "partitions"):
        if found["in_the_way"]:
            users = rows(conn, "oldest_user_of_table", table=found["table"])
            by = f" for process {users[0]['pid']}, which reads the history" if users else ""
            return (
                f"History has no partition for the current time: the detach of"
                f" {found['schema']}.{found['name']} still waits{by}."
                ' See docs/database.md, "Days ahead".'
            )
    return "History has no partition for the current time."
