"""What operators do to one job beside cancelling it: change it, queue it again, copy it, delete it.

Where a row is locked it is in a transaction, as a cancel is: that waits for a lock for LOCK_SECONDS alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from haulier.domain.errors import InvalidTransition, JobChanged, JobNotFound, NotRetryable, TooFewAttempts
from haulier.domain.job import JobStatus, Json
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, rows, transaction
from haulier.postgres.values import array
from haulier.queue.produce.look import get
from haulier.queue.rows import StoredJob, job_of

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different in a job; the code that builds it has validated the values.

    Shape: fields is a JSON object of those of queue, priority, run_at (RFC 3339), delay_seconds, max_attempts,
           timeout_seconds, tags and payload that are to change. seen is the hash of the payload on which a new one is
           based: where the job has another by then, nothing is done. noted is a JSON object, what the audit is to say
           of both payloads, without what the kind keeps secret.
    """

    fields: str = "{}"
    seen: bytes | None = None
    noted: str | None = None

    @classmethod
    def of(cls, **fields: Json) -> Changes:
        """Return changes of these fields."""
        return cls(_write(fields))


NONE = Changes()


def change(
    conn: Connection, job_id: UUID, changes: Changes, *, actor: str | None = None, queues: Sequence[str] | None = None
) -> StoredJob:
    """Change a job that waits and return it; with queues, only one in these. What changed goes into the audit.

    Raises: JobNotFound; InvalidTransition for a job that runs or has ended; JobChanged; TooFewAttempts where it would
            have used up all attempts, or more.
    """
    try:
        with transaction(conn):
            changed = rows(conn, "change", json_as_text=True, **_sent(job_id, changes, actor, queues))
    except sqlstate.CheckViolation as error:
        if error.diag.constraint_name == "max_attempts_above_attempts":
            raise TooFewAttempts from error
        raise
    if changed:
        return job_of(changed[0])
    job = visible(conn, job_id, queues)
    if job.status.is_final or job.status is JobStatus.RUNNING:
        raise InvalidTransition(job_id, job.status, "change")
    raise JobChanged(job_id)


def retry(
    conn: Connection,
    job_id: UUID,
    changes: Changes = NONE,
    *,
    actor: str | None = None,
    queues: Sequence[str] | None = None,
) -> StoredJob:
    """Queue a failed or cancelled job again, with a full budget and with changes; `actor` goes into the audit.

    Raises: JobNotFound, also for a job in none of the queues; InvalidTransition; JobChanged; NotRetryable where
            somebody has inserted another job of that id.
    """
    try:
        with transaction(conn):
            back = rows(conn, "retry", json_as_text=True, **_sent(job_id, changes, actor, queues))
    except (sqlstate.UniqueViolation, sqlstate.TooManyRows) as error:
        if error.diag.constraint_name not in (None, "job_pkey"):
            raise
        raise NotRetryable(job_id, "there is another job with its id") from error
    if back:
        return job_of(back[0])
    job = visible(conn, job_id, queues)
    if job.status in (JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED):
        raise JobChanged(job_id)
    raise InvalidTransition(job_id, job.status, "retry")


def copy(
    conn: Connection,
    job_id: UUID,
    changes: Changes = NONE,
    *,
    actor: str | None = None,
    queues: Sequence[str] | None = None,
) -> StoredJob:
    """Enqueue a new job like this one, in whatever state that is, with changes; return the new one.

    Raises: JobNotFound, also for a job in none of the queues; JobChanged.
    """
    made = rows(conn, "copy", json_as_text=True, **_sent(job_id, changes, actor, queues))
    if made:
        return job_of(made[0])
    visible(conn, job_id, queues)
    raise JobChanged(job_id)


def delete(conn: Connection, job_id: UUID, *, actor: str | None = None, queues: Sequence[str] | None = None) -> None:
    """Delete a job that has ended; with queues, only one in these. What it was goes into the audit.

    Raises: JobNotFound; InvalidTransition for a job that is live; JobChanged.
    """
    with transaction(conn):
        [done] = rows(conn, "delete", id=job_id, actor=actor, queues=_array(queues))
    if not done["is_deleted"]:
        job = visible(conn, job_id, queues)
        if job.status.is_final:
            raise JobChanged(job_id)
        raise InvalidTransition(job_id, job.status, "delete")


def visible(conn: Connection, job_id: UUID, queues: Sequence[str] | None) -> StoredJob:
    """Return the job, if it is in one of these queues; None: any. Raises: JobNotFound."""
    job = get(conn, job_id)
    if queues is not None and job.queue not in queues:
        raise JobNotFound(job_id)
    return job


def _sent(job_id: UUID, changes: Changes, actor: str | None, queues: Sequence[str] | None) -> dict[str, Any]:
    return {
        "id": job_id,
        "changes": changes.fields,
        "seen": changes.seen,
        "noted": changes.noted,
        "actor": actor,
        "queues": _array(queues),
    }


def _array(queues: Sequence[str] | None) -> str | None:
    return None if queues is None else array(queues)
