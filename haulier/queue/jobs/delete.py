"""Delete a finished job."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.errors import InvalidTransition, JobChanged
from haulier.postgres.statements import Connection
from haulier.queue.jobs.acting import Many, acted, acted_on_all
from haulier.queue.search.job_list import visible


def delete(conn: Connection, job_id: UUID, *, actor: str | None = None, queues: Sequence[str] | None = None) -> None:
    """Delete a job that has ended; with queues, only one in these. What it was goes into the audit.

    Raises: JobNotFound; InvalidTransition for a job that is live; JobChanged.
    """
    if acted(conn, job_id, ["delete"], actor=actor, queues=queues):
        return
    job = visible(conn, job_id, queues)
    if job.status.is_final:
        raise JobChanged(job_id)
    raise InvalidTransition(job_id, job.status, "delete")


def delete_all(conn: Connection, many: Many) -> int:
    """Delete jobs as `delete` does, and return how many."""
    return acted_on_all(conn, "delete_all", many)
