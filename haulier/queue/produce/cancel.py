"""Cancel a job."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.errors import InvalidTransition
from haulier.postgres.statements import Connection, rows, transaction
from haulier.postgres.values import array
from haulier.queue.produce.change import visible
from haulier.queue.upkeep.partitions import with_history


def cancel(conn: Connection, job_id: UUID, *, actor: str | None = None, queues: Sequence[str] | None = None) -> bool:
    """Cancel the job: True when it is cancelled, False when it runs and was asked to stop; `actor` goes into the audit.

    Raises: JobNotFound, also for a job in none of the queues, if any are given; InvalidTransition when it had ended.
    """
    while True:
        done = with_history(conn, lambda: _cancel_live(conn, job_id, actor, queues))
        if done is not None:
            return done
        # The job may have ended during the wait for its lock, and only a new snapshot sees it in history.
        job = visible(conn, job_id, queues)
        if job.status.is_final:
            raise InvalidTransition(job_id, job.status, "cancel")


def _cancel_live(conn: Connection, job_id: UUID, actor: str | None, queues: Sequence[str] | None) -> bool | None:
    allowed = None if queues is None else array(queues)
    with transaction(conn):
        [cancelled] = rows(conn, "cancel", id=job_id, actor=actor, queues=allowed)
    return None if cancelled["was"] is None else cancelled["was"] == "waiting"
