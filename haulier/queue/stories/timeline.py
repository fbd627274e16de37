"""What is kept of what happened to a job: the facts of its timeline."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.domain.job import JobStatus, Json
from haulier.domain.progress import Reported
from haulier.domain.timeline import Done, Facts, FailedRun
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc
from haulier.queue.rows import StoredJob, job_of, progress_of, worker_of

# This many of the newest acts of operators are read.
MOST_DONE = 200


class Trace(NamedTuple):
    """What is kept of a job and around it.

    `worker` is the host and the process id of the one that runs the job, or ran its last attempt; None: none did, or it
    is not known. `enqueued_by` is an API key's id; None: without a key, or not known. done is what operators did,
    oldest first; `more_done` is true if older acts are left out. `error_id` is the group of errors with which it has
    failed permanently, or after which it is to be retried. `progress` has its note unmasked: see `job`.
    """

    job: StoredJob
    worker: str | None
    enqueued_by: str | None
    done: list[Done]
    more_done: bool
    error_id: int | None
    progress: Reported | None

    @property
    def facts(self) -> Facts:
        """Return what its timeline is made of; replace the job before, if the caller may not see all of it."""
        job = self.job
        return Facts(
            status=job.status,
            created_at=job.created_at,
            updated_at=job.updated_at,
            run_at=job.run_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            claims=job.attempt,
            attempts=job.attempts,
            snoozes=job.snoozes,
            failed=[_failed(each) for each in job.errors],
            done=self.done,
            more_done=self.more_done,
            has_worker=job.worker_id is not None,
            worker=self.worker,
            enqueued_by=self.enqueued_by,
            schedule=job.schedule,
            scheduled_for=job.scheduled_for,
        )


def trace(conn: Connection, job_id: UUID) -> Trace:
    """Return what is kept of the job. Raises: JobNotFound."""
    found = rows(conn, "read_timeline", json_as_text=True, id=job_id, limit=MOST_DONE + 1)
    if not found:
        raise JobNotFound(job_id)
    row = found[0]
    acts = zip(row["done_at"], row["actions"], row["actors"], strict=True)
    done = [Done(utc(at), action, actor) for at, action, actor in acts]
    job = job_of(row)
    return Trace(
        job,
        worker_of(row),
        row["enqueued_by"],
        done[-MOST_DONE:],
        len(done) > MOST_DONE,
        row["error_id"] if job.status in (JobStatus.RETRYING, JobStatus.FAILED_PERMANENT) else None,
        progress_of(row),
    )


def _failed(error: dict[str, Json]) -> FailedRun:
    return FailedRun(
        attempt=error["attempt"],
        began=datetime.fromisoformat(error["started_at"]),
        ended=datetime.fromisoformat(error["at"]),
        worker=error["worker"],
        error=error["error"],
    )
