"""The database that the examples use one after the other, and what is done to it that no verb of the queue does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection as Connection

Row = dict[str, Any]

EMPTY = """
    DELETE FROM haulier.job; DELETE FROM haulier.finished_job; DELETE FROM haulier.worker;
    DELETE FROM haulier.idempotency; DELETE FROM haulier.pause; DELETE FROM haulier.operation;
    DELETE FROM haulier.preview; DELETE FROM haulier.audit
"""
ALL_JOBS = """
    SELECT now() AS now, xmin::text AS version, 'job' AS place, id, status, queue, priority, run_at, worker_id,
        attempt, claim, attempts, max_attempts, crashes, suspect, snoozes, backoff, cancel_requested, idempotency_key,
        last_error, errors, updated_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result
    FROM haulier.job
    UNION ALL
    SELECT now(), xmin::text, 'finished_job', id, status, queue, priority, run_at, worker_id, attempt, claim,
        attempts, max_attempts, crashes, crashes > 0, snoozes, NULL, cancel_requested, idempotency_key, last_error,
        errors, updated_at, finished_at, result
    FROM haulier.finished_job
"""
KEYS_AND_WORKERS = """
    SELECT key, job_id AS id FROM haulier.idempotency
    UNION ALL
    SELECT NULL, id FROM haulier.worker
"""
RECORD = """
    SELECT action, coalesce(job_id::text, target) AS target
    FROM haulier.audit
    WHERE action IN (
        'cancel', 'change', 'retry', 'copy', 'delete', 'operate', 'cancel_operation', 'resume_operation')
    ORDER BY id
"""
MOVE_TIME = """
    UPDATE haulier.job SET run_at = run_at - %(time)s, created_at = created_at - %(time)s,
        updated_at = updated_at - %(time)s, started_at = started_at - %(time)s;
    UPDATE haulier.finished_job SET run_at = run_at - %(time)s, created_at = created_at - %(time)s,
        updated_at = updated_at - %(time)s, started_at = started_at - %(time)s, finished_at = finished_at - %(time)s;
    UPDATE haulier.worker SET started_at = started_at - %(time)s, beat_at = beat_at - %(time)s;
    UPDATE haulier.idempotency SET created_at = created_at - %(time)s;
    UPDATE haulier.pause SET since = since - %(time)s, until = until - %(time)s;
    UPDATE haulier.operation SET next_at = next_at - %(time)s, worked_until = worked_until - %(time)s,
        walked_at = walked_at - %(time)s
"""
MOVE_UNCOMMITTED = """
    UPDATE haulier.job SET run_at = run_at - %(time)s, created_at = created_at - %(time)s,
        updated_at = updated_at - %(time)s
    WHERE id = ANY(%(ids)s)
"""
ADD_DAY = """
    CREATE TABLE IF NOT EXISTS haulier."finished_job_{day:%Y%m%d}_000000"
    PARTITION OF haulier.finished_job FOR VALUES FROM ('{day:%Y-%m-%d}+00') TO ('{after:%Y-%m-%d}+00')
"""
INSERT = """
    INSERT INTO haulier.job (kind, payload, queue, max_attempts, run_at)
    VALUES ('mail', '{}', %(queue)s, %(max_attempts)s, now() + %(due)s)
    RETURNING id
"""


@dataclass(frozen=True)
class World:
    """The database, as the service, an application with a transaction and somebody with locks are connected to it."""

    url: str
    conn: Connection
    application: Connection
    rival: Connection
    days: set[date] = field(default_factory=set)

    def sql(self, statement: str, *, by: Connection | None = None, **parameters: object) -> list[Row]:
        with (by or self.conn).cursor() as cursor:
            cursor.execute(statement, parameters)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def now(self) -> datetime:
        """Return what the only clock says."""
        [row] = self.sql("SELECT now() AS now")
        return row["now"]

    def begin(self) -> None:
        """Leave nothing of the last example."""
        self.end()
        self.sql(EMPTY)

    def end(self) -> None:
        """Leave no transaction open."""
        self.application.rollback()
        self.rival.rollback()

    def insert(self, queue: str, due: timedelta, max_attempts: int, *, by: Connection) -> UUID:
        """Enqueue as an application does, also for a time that has passed."""
        [row] = self.sql(INSERT, by=by, queue=queue, due=due, max_attempts=max_attempts)
        return row["id"]

    def lock(self, job_id: UUID) -> None:
        """Hold the job's row in a transaction of somebody else's."""
        self.sql("SELECT FROM haulier.job WHERE id = %(id)s FOR UPDATE", by=self.rival, id=job_id)

    def silence(self, worker_id: UUID, time: timedelta) -> None:
        """Let the worker not have beaten for so long."""
        self.sql("UPDATE haulier.worker SET beat_at = now() - %(time)s WHERE id = %(id)s", time=time, id=worker_id)

    def snoozed(self, job_id: UUID, times: int) -> None:
        """Let the job have snoozed so often."""
        self.sql("UPDATE haulier.job SET snoozes = %(times)s WHERE id = %(id)s", times=times, id=job_id)

    def pass_time(self, time: timedelta, *, ends: Collection[datetime], uncommitted: Collection[UUID]) -> None:
        """Let the time pass: in every row, everything is as much longer ago. What ended needs a day to lie in."""
        for day in {(end - time).astimezone(UTC).date() for end in ends} - self.days:
            self.sql(ADD_DAY.format(day=day, after=day + timedelta(days=1)))
            self.days.add(day)
        self.sql(MOVE_TIME, time=time)
        if uncommitted:
            self.sql(MOVE_UNCOMMITTED, by=self.application, time=time, ids=list(uncommitted))
