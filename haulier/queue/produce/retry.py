"""Queue a job again after it has ended."""

from __future__ import annotations

from uuid import UUID

from haulier.domain.errors import InvalidTransition, NotRetryable
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, rows
from haulier.queue.produce.look import get
from haulier.queue.rows import StoredJob, job_of


def retry(conn: Connection, job_id: UUID, *, actor: str | None = None) -> StoredJob:
    """Queue a failed or cancelled job again, with a full budget; `actor` goes into the audit.

    Raises: JobNotFound; InvalidTransition; NotRetryable where somebody has inserted another job of that id, or a row
            into history that could never have been a job.
    """
    try:
        back = rows(conn, "retry", json_as_text=True, id=job_id, actor=actor)
    except sqlstate.UniqueViolation as error:
        raise NotRetryable(job_id, "there is another job with its id") from error
    except sqlstate.CheckViolation as error:
        raise NotRetryable(job_id, f"no job may be like that ({error.diag.constraint_name})") from error
    if back:
        return job_of(back[0])
    raise InvalidTransition(job_id, get(conn, job_id).status, "retry")
