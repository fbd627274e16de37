"""Enqueue a new job like one that there is."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.errors import JobChanged
from haulier.postgres.statements import Connection
from haulier.queue.jobs.acting import acted
from haulier.queue.jobs.change import NONE, Changes
from haulier.queue.rows import StoredJob, job_of
from haulier.queue.search.job_list import visible


def copy(
    conn: Connection,
    job_id: UUID,
    changes: Changes = NONE,
    *,
    actor: str | None = None,
    queues: Sequence[str] | None = None,
) -> StoredJob:
    """Enqueue a new job like this one, in whatever state that is, with changes; return the new one.

    Raises: JobNotFound, also for a job in none of the queues; JobChanged; RowRefused.
    """
    made = acted(conn, job_id, ["lock_jobs_first", "copy"], actor=actor, queues=queues, **changes.sent)
    if made:
        return job_of(made)
    visible(conn, job_id, queues)
    raise JobChanged(job_id)
