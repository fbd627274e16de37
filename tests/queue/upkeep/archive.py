"""A database whose history may be spoiled."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import Job, JobStatus, Json, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims
from tests import queueing
from tests.conftest import sql_on


class Archive:
    """A database of the test's own, whose partitions it may spoil."""

    def __init__(self, url: str, opened: ExitStack) -> None:
        self.url = url
        self._opened = opened
        self.conn = self.open()
        self.sql = sql_on(self.conn)

    def open(self) -> Connection:
        return self._opened.enter_context(closing(connect(self.url, application_name="haulier test")))

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
        names = self.sql(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid"
            " WHERE inhparent = 'haulier.finished_job'::regclass ORDER BY 1"
        )
        return [name for (name,) in names]

    def tables(self) -> set[str]:
        return {row[0] for row in self.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'finished_job\\_%'")}

    def remove_partitions(self, *, keep: bool = False) -> None:
        """Detach every partition as an operator might; drop it unless `keep`."""
        for name in self.partitions():
            self.detach(name)
            if not keep:
                self.sql(f"DROP TABLE haulier.{name}")

    def detach(self, name: str) -> None:
        self.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name}")

    def add(self, name: str, lower: str, upper: str) -> None:
        """Add a partition whose bounds are expressions of SQL."""
        self.sql(
            f"DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.{name} PARTITION OF haulier.finished_job"
            f" FOR VALUES FROM (%L) TO (%L)', {lower}, {upper}); END $$"
        )

    def add_old(self, name: str, days_from: int, days_to: int) -> UUID:
        """Add a partition for these days ago, and return the id of a job that finished within it."""
        today = "date_trunc('day', now())"
        self.add(name, f"{today} - interval '{days_from} days'", f"{today} - interval '{days_to} days'")
        job = self.running()
        self.settle(job)
        self.sql(
            f"UPDATE haulier.finished_job SET (created_at, finished_at) = (at, at) FROM (SELECT {today}"
            " - make_interval(days => %s, secs => 1)) AS long_ago (at) WHERE id = %s",
            days_to,
            job.id,
        )
        return job.id

    def settle(self, job: Job, result: Json = None) -> dict[UUID, JobStatus]:
        """Let the job succeed, and return what has become of it."""
        return claims.settle(self.conn, [Settlement(Fence.of(job), Outcome.complete(result))])

    def running(self) -> Job:
        queueing.enqueue(self.conn, [NewJob("mail", {})])
        worker = claims.register(self.conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        [job] = queueing.claim(self.conn, worker_id=worker, claim_id=uuid4(), queues=())
        return job

    def open_reader(self) -> Connection:
        reader = self.open()
        reader.autocommit = False
        sql_on(reader)("SELECT count(*) FROM haulier.jobs")
        return reader
