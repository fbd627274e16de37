"""A database whose history may be spoiled."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import Job, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims
from tests import queueing


class Archive:
    """A database of the test's own, whose partitions it may spoil."""

    def __init__(self, url: str, opened: ExitStack) -> None:
        self.url = url
        self._opened = opened
        self.conn = self.open()

    def open(self) -> Connection:
        """Return a further connection."""
        return self._opened.enter_context(closing(connect(self.url, application_name="haulier test")))

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run any statement and return its rows."""
        with self.conn.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def bounds(self) -> list[tuple[datetime, datetime]]:
        """Return each attached partition's bounds in UTC, oldest first."""
        found = self.sql(
            r"SELECT (regexp_match(bound, 'FROM \(''(.*?)''\)'))[1]::timestamptz,"
            r" (regexp_match(bound, 'TO \(''(.*?)''\)'))[1]::timestamptz"
            " FROM (SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class"
            "       JOIN pg_inherits ON inhrelid = oid AND inhparent = 'haulier.finished_job'::regclass) AS child"
            " ORDER BY 1"
        )
        return [(lower.astimezone(UTC), upper.astimezone(UTC)) for lower, upper in found]

    def partitions(self) -> list[str]:
        """Return the attached partitions' names."""
        return [
            row[0]
            for row in self.sql(
                "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid"
                " WHERE inhparent = 'haulier.finished_job'::regclass ORDER BY 1"
            )
        ]

    def tables(self) -> set[str]:
        """Return the history's tables, attached or not."""
        return {row[0] for row in self.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'finished_job\\_%'")}

    def remove_partitions(self, keep: bool = False) -> None:
        """Detach every partition as an operator might; drop it unless `keep`."""
        for name in self.partitions():
            self.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name}")
            if not keep:
                self.sql(f"DROP TABLE haulier.{name}")

    def add_old(self, name: str, days_from: int, days_to: int) -> UUID:
        """Add a partition for these days ago, and return the id of a job that finished within it."""
        self.sql(
            f"DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.{name} PARTITION OF haulier.finished_job"
            f" FOR VALUES FROM (%L) TO (%L)', date_trunc('day', now()) - interval '{days_from} days',"
            f" date_trunc('day', now()) - interval '{days_to} days'); END $$"
        )
        job = self.running()
        claims.settle(self.conn, [Settlement(Fence.of(job), Outcome.complete())])
        self.sql(
            "UPDATE haulier.finished_job SET"
            " created_at = date_trunc('day', now()) - make_interval(days => %s, secs => 1),"
            " finished_at = date_trunc('day', now()) - make_interval(days => %s, secs => 1) WHERE id = %s",
            days_to,
            days_to,
            job.id,
        )
        return job.id

    def running(self) -> Job:
        """Return a job that has been claimed."""
        queueing.enqueue(self.conn, [NewJob("mail", {})])
        worker = claims.register(self.conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        [job] = queueing.claim(self.conn, worker_id=worker, claim_id=uuid4(), queues=())
        return job

    def open_reader(self) -> Connection:
        """Return a connection in whose open transaction the history has been read."""
        reader = self.open()
        reader.autocommit = False
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM haulier.jobs")
        return reader
