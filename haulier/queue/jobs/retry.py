"""Queue a job again that has failed permanently or was cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.errors import InvalidTransition, JobChanged, NotRetryable
from haulier.domain.job import JobStatus
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection
from haulier.queue.jobs.acting import Many, acted, acted_on_all
from haulier.queue.jobs.change import NONE, Changes
from haulier.queue.rows import StoredJob, job_of
from haulier.queue.search.job_list import visible


def retry(
    conn: Connection,
    job_id: UUID,
    changes: Changes = NONE,
    *,
    actor: str | None = None,
    queues: Sequence[str] | None = None,
) -> StoredJob:
    """Queue a failed or cancelled job again, with a full budget and with changes; `actor` goes into the audit.

    Raises: JobNotFound, also for a job in none of the queues; InvalidTransition; JobChanged; NotRetryable if
            somebody has inserted another job of that id; RowRefused.
    """
    try:
        back = acted(conn, job_id, ["lock_jobs_first", "retry"], actor=actor, queues=queues, **changes.sent)
    except sqlstate.UniqueViolation as error:
        if error.diag.constraint_name != "job_pkey":
            raise
        raise NotRetryable(job_id, "another job has the same id") from error
    if back:
        return job_of(back)
    job = visible(conn, job_id, queues)
    if job.status in (JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED):
        raise JobChanged(job_id)
    raise InvalidTransition(job_id, job.status, "retry")


def retry_all(conn: Connection, many: Many, changes: Changes = NONE) -> int:
    """Queue jobs again as `retry` does, and return how many."""
    return acted_on_all(conn, "retry_all", many, **changes.sent)
