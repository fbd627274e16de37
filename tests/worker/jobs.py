"""Jobs as a worker has claimed them, and a claim size that has learned how long they take."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.job import Job
from haulier.kinds import JobContext
from haulier.queue import claims
from haulier.queue.rows import ClaimedJob
from haulier.testing.performed import first_run
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.sizes import ClaimSize

CONFIG = Config("postgres://db.example.com/haulier")


def a_job(kind: str) -> Job:
    return first_run(kind, {})


def a_claimed_job(*, queue: str, priority: int, text: str = "") -> ClaimedJob:
    """Return a job of this lane as a claim brings it, with so much text."""
    return ClaimedJob(*a_job("mail"))._replace(queue=queue, priority=priority, payload=text, errors="")


def held(job: Job, timeout: float | None = None, **more: Any) -> HeldJob:
    return HeldJob(job, JobContext(job, CONFIG), timeout, **more)


def a_worker(conn: Connection, **settings: Any) -> UUID:
    """Return the id of a worker that has registered, with 8 threads and a lease of 30 s unless it is said."""
    usual = {"host": "dock", "pid": 7, "threads": 8, "queues": (), "lease_seconds": 30}
    return claims.register(conn, **{**usual, **settings})


def learn(pace: ClaimSize, kind: str, seconds: float, *, times: int = 200) -> None:
    for _ in range(times):
        pace.ran(kind, seconds)
        pace.fitting([a_job(kind)], free=1)
