"""Why a job waits, from what claims go by; and who runs one that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.domain.job import JobStatus
from haulier.domain.waiting import GIVEN_BACK, Waiting, Workers
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, utc
from haulier.queue.lane_scan import scan
from haulier.queue.rows import worker_of

# How long the lanes are read, and how many jobs are counted that may start before this one.
LOOK_SECONDS, MOST_AHEAD = 0.1, 1001
# A job that has changed between two statements is looked at again, this often.
TIMES = 5


@dataclass(frozen=True, slots=True)
class Run:
    """Who runs a job.

    `worker` is its name; None if it was declared dead, and others will take the job over. `lease_ends` is when it is
    declared dead unless it beats. deadline is the earliest at which the run times out: it counts from when the handler
    begins, which can be later than `since`; None: never, or not known here.
    """

    worker_id: UUID
    worker: str | None
    lease_ends: datetime | None
    since: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job is waiting for. `waiting` is None unless it waits, run is None unless it runs."""

    status: JobStatus
    queue: str
    waiting: Waiting | None = None
    run: Run | None = None


def explain(conn: Connection, job_id: UUID, *, timeouts: Mapping[str, float | None]) -> Explanation:
    """Return why the job waits, or who runs it.

    `timeouts` has the kinds that are known here.
    Units:  timeouts are seconds.
    Raises: JobNotFound.
    """
    found: list[Row] = []
    for _ in range(TIMES):
        jobs = rows(conn, "explained_job", id=job_id)
        if not jobs:
            raise JobNotFound(job_id)
        [job] = jobs
        status = JobStatus(job["status"])
        if status is JobStatus.RUNNING:
            return Explanation(status, job["queue"], run=_run(job, timeouts))
        if status.is_final:
            return Explanation(status, job["queue"])
        found = rows(
            conn,
            "explain_waiting",
            id=job_id,
            busy=array(_due_beside(conn) if job["suspect"] else []),
            passed_over=array([]),
            given_back=GIVEN_BACK,
            **scan(suspect=job["suspect"], seconds=LOOK_SECONDS),
            most=MOST_AHEAD,
        )
        if found:
            return Explanation(JobStatus(found[0]["status"]), job["queue"], waiting=_waiting(found[0], job["suspect"]))
    # It is claimed and given back all the time, so nothing keeps it from being claimed.
    return Explanation(status, job["queue"])


def _due_beside(conn: Connection) -> list[str]:
    """Return the queues whose due jobs a worker takes before it is free for one that has to run alone."""
    return [row["queue"] for row in rows(conn, "due_queues", **scan(suspect=False, seconds=LOOK_SECONDS))]


def _run(job: Row, timeouts: Mapping[str, float | None]) -> Run:
    timeout = job["timeout_seconds"] or timeouts.get(job["kind"])
    since = utc(job["started_at"])
    return Run(
        job["worker_id"],
        worker_of(job),
        job["lease_ends"] and utc(job["lease_ends"]),
        since,
        since + timedelta(seconds=timeout) if timeout else None,
    )


def _waiting(row: Row, is_suspect: bool) -> Waiting:
    return Waiting(
        kind=row["kind"],
        queue=row["queue"],
        is_retrying=row["status"] == JobStatus.RETRYING,
        is_suspect=is_suspect,
        given_back=row["given_back"],
        run_at=utc(row["run_at"]),
        due_seconds=row["due_seconds"],
        workers=Workers(**{name: row[name] for name in _OF_WORKERS}),
        ahead=row["ahead"],
        ahead_here=row["ahead_here"],
        most=MOST_AHEAD,
        has_room=row["has_room"],
        paused_since=row["paused_since"] and utc(row["paused_since"]),
        paused_until=row["paused_until"] and utc(row["paused_until"]),
        locked_by=row["locked_by"],
        per_minute=row["per_minute"],
    )


_OF_WORKERS = ("live", "taking", "live_serving", "serving", "fit", "free", "idle", "known", "without_scans")
