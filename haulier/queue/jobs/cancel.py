"""Cancel a job."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.errors import InvalidTransition
from haulier.postgres.statements import Connection
from haulier.queue.jobs.acting import Many, acted, acted_on_all
from haulier.queue.search.job_list import visible
from haulier.queue.upkeep.partitions import with_history


def cancel(conn: Connection, job_id: UUID, *, actor: str | None = None, queues: Sequence[str] | None = None) -> bool:
    """Cancel the job: True when it is cancelled, False when it runs and was asked to stop; `actor` goes into the audit.

    Raises: JobNotFound, also for a job in none of the queues, if any are given; InvalidTransition when it had ended;
            RowRefused.
    """
    while True:
        done = with_history(conn, lambda: acted(conn, job_id, ["cancel"], actor=actor, queues=queues))
        if done:
            return not done["is_running"]
        # The job may have ended or been claimed during the wait for its lock, which only a new snapshot sees.
        job = visible(conn, job_id, queues)
        if job.status.is_final:
            raise InvalidTransition(job_id, job.status, "cancel")


def cancel_all(conn: Connection, many: Many) -> int:
    """Cancel live jobs as `cancel` does, and return how many."""
    return acted_on_all(conn, "cancel_all", many)
