"""Look at jobs: by their ids, and as a list, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import JobNotFound
from haulier.domain.job import JobStatus
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import array
from haulier.queue.rows import StoredJob, job_of

# A page of a list ends with the job that reaches so many bytes of payloads, errors and results together.
PAGE_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; `after` is the (created_at, id) of the last one already seen.

    Shape: queues are those that the caller may see; None: every queue.
    """

    status: JobStatus | None = None
    kind: str | None = None
    queue: str | None = None
    queues: Sequence[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 50
    offset: int = 0


class Page(NamedTuple):
    """Some jobs of a list. Shape: has_more tells whether others follow them."""

    jobs: list[StoredJob]
    has_more: bool


def get_jobs(conn: Connection, ids: Iterable[object]) -> list[StoredJob]:
    """Return the jobs of these ids that exist, live or finished, in any order."""
    return [job_of(row) for row in rows(conn, "get_jobs", json_as_text=True, ids=array(ids))]


def get(conn: Connection, job_id: UUID) -> StoredJob:
    """Return the job, live or finished. Raises: JobNotFound."""
    found = get_jobs(conn, [job_id])
    if not found:
        raise JobNotFound(job_id)
    return found[0]


def list_jobs(conn: Connection, wanted: JobFilter) -> Page:
    """Return the jobs, newest first (created_at, then id, descending), at most `limit` and PAGE_BYTES of them.

    Shape: at least one job where there is one, however large.
    """
    after_at, after_id = wanted.after or (None, None)
    found = rows(
        conn,
        "list_jobs",
        json_as_text=True,
        status=wanted.status,
        kind=wanted.kind,
        queue=wanted.queue,
        queues=None if wanted.queues is None else list(wanted.queues),
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        after_at=after_at,
        after_id=after_id,
        least_id=UUID(int=0),
        # One more than asked for tells whether there are more.
        limit=wanted.limit + 1,
        offset=wanted.offset,
        most_bytes=PAGE_BYTES,
    )
    return Page([job_of(row) for row in found], bool(found) and found[0]["matched"] > len(found))
