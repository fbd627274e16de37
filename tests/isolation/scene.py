"""What has to be there, and to happen, for a worker to send each of its statements."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, NewJob
from haulier.domain.operation import OperationAction
from haulier.postgres.connection import connect
from haulier.queue.operations.operations import Order, start
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep.partitions import ensure_partitions
from tests import queueing
from tests.conftest import sql_on
from tests.worker.jobs import a_worker

COUNT = 100
# Which runs on while the others end, so that the process is never alone, and then is, for the orphan.
LONG_SECONDS = 2.0
# How long a row is locked, and how long none is: a job that the worker does not know of is given back, and not settled,
# once its row is free.
LOCK_SECONDS = 0.5
EXPIRED = "finished_job_of_long_ago"


class Scene:
    """A hundred jobs, two long ones, of which one reports its progress, the orphan of a dead worker; partitions.

    Of these there is one to add and one to drop.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn, self._run = conn, sql_on(conn)
        self.jobs: list[Job] = []
        self.orphans: list[Job] = []
        self._rival: Connection | None = None
        self._lock_until = 0.0
        self._history()
        self._work()

    def _work(self) -> None:
        # Which has nothing to do, and takes every statement of those that have.
        start(self._conn, Order(OperationAction.RETRY, JobFilter(kinds=["none"])), as_of=None, actor=None)
        # The long ones first: a suspect is to come while they run.
        self.jobs += self._enqueue([NewJob("t.note", {"seconds": LONG_SECONDS}, priority=1)])
        words = [{"done": 1, "total": 2, "note": "half of it"}]
        self.jobs += self._enqueue([NewJob("t.tells", {"words": words, "seconds": LONG_SECONDS}, priority=1)])
        self.jobs += self._enqueue(NewJob("t.note", {}) for _ in range(COUNT))
        [orphan] = self._enqueue([NewJob("t.note", {})])
        self.orphans.append(orphan)
        self._lose(orphan)

    def go_on(self, seen: Collection[str]) -> None:
        """Bring about what is missing among the statements that were seen."""
        # A worker that has heard a call need not make one to itself, and one that is called all the time never sleeps.
        if "call_myself" in seen and "pass_on" not in seen:
            # By its name: if it is busy it passes that on.
            self._run("SELECT pg_notify('haulier_job', id::text) FROM haulier.worker WHERE beat_at >= now() - lease")
        if "fall_asleep" in seen and "get_up" not in seen:
            self._run("SELECT pg_notify('haulier_job', gen_random_uuid()::text) FROM generate_series(1, 30)")
        # The orphan is settled by the second, while the long jobs still run.
        if {"settle", "settle_completed"} & set(seen) and "lock_held" not in seen:
            self._lock_one()
        else:
            self.let_go()
        # Nor does one that has always something to do.
        if "fall_asleep" in seen and self.all_ended():
            self._work()

    def _lock_one(self) -> None:
        """Lock the row of a job that runs, so that it cannot be settled with the others; for a while, then another."""
        if time.monotonic() < self._lock_until:
            return
        is_turn_to_lock = self._rival is None
        self._lock_until = time.monotonic() + LOCK_SECONDS
        self.let_go()
        if not is_turn_to_lock:
            return
        self._rival = connect(self._conn.dsn)
        # Not the orphan: it is to be rescued while the long jobs run.
        sql_on(self._rival)(
            "BEGIN; SELECT FROM haulier.job WHERE status = 'running' AND id <> ALL(%s) ORDER BY random() LIMIT 1"
            " FOR UPDATE SKIP LOCKED",
            [orphan.id for orphan in self.orphans],
        )

    def let_go(self) -> None:
        if self._rival is not None:
            self._rival.close()
            self._rival = None

    def _enqueue(self, jobs: Iterable[NewJob]) -> list[Job]:
        return [receipt.job for receipt in queueing.enqueue(self._conn, list(jobs)) if receipt.job is not None]

    def _history(self) -> None:
        ensure_partitions(self._conn, retention_days=30)
        [(newest,)] = self._run(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
            " ORDER BY pg_get_expr((SELECT relpartbound FROM pg_class WHERE oid = inhrelid), inhrelid) DESC LIMIT 1"
        )
        self._run(
            f"DROP TABLE {newest}; DROP TABLE IF EXISTS haulier.{EXPIRED};"
            f" CREATE TABLE haulier.{EXPIRED} PARTITION OF haulier.finished_job"
            " FOR VALUES FROM ('1999-01-01+00') TO ('1999-02-01+00')"
        )

    def _lose(self, job: Job) -> None:
        dead = a_worker(self._conn, lease_seconds=1)
        self._run("UPDATE haulier.worker SET beat_at = now() - interval '1 minute' WHERE id = %s", dead)
        self._run(
            "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, started_at = now(), attempt = 1,"
            " attempts = 1 WHERE id = %s",
            dead,
            uuid4(),
            job.id,
        )

    def all_ended(self) -> bool:
        [(live,)] = self._run("SELECT count(*) FROM haulier.job")
        return live == 0

    def ends(self) -> dict[UUID, tuple[str, int]]:
        found = self._run("SELECT id, status, attempts FROM haulier.jobs")
        return {id: (status, attempts) for id, status, attempts in found}
