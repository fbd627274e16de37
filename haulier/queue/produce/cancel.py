"""Cancel a job."""

from __future__ import annotations

from uuid import UUID

from haulier.domain.errors import InvalidTransition
from haulier.postgres.statements import Connection, rows, transaction
from haulier.queue.produce.look import get
from haulier.queue.upkeep.partitions import with_history


def cancel(conn: Connection, job_id: UUID, *, actor: str | None = None) -> bool:
    """Cancel the job: True when it is cancelled, False when it runs and was asked to stop; `actor` goes into the audit.

    Raises: JobNotFound; InvalidTransition when the job had ended.
    """
    while True:
        done = with_history(conn, lambda: _cancel_live(conn, job_id, actor))
        if done is not None:
            return done
        # The job may have ended during the wait for its lock, and only a new snapshot sees it in history.
        job = get(conn, job_id)
        if job.status.is_final:
            raise InvalidTransition(job_id, job.status, "cancel")


def _cancel_live(conn: Connection, job_id: UUID, actor: str | None) -> bool | None:
    with transaction(conn):
        [cancelled] = rows(conn, "cancel", id=job_id, actor=actor)
    return None if cancelled["was"] is None else cancelled["was"] == "waiting"
