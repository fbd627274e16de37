"""The verbs of whoever has work: enqueue, get, list, cancel, retry. Functions over a connection, so that a caller
can pass its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg2 import errors

from haulier.domain.errors import InvalidTransition, JobNotFound, NotRetryable, ReadOnly
from haulier.domain.job import JobStatus
from haulier.queue.connection import Connection, rows, transaction
from haulier.queue.history import days_ahead, with_history
from haulier.queue.intake import Draft, Enqueued, Receipt, Stored, draft, enqueue, enqueue_all, enqueue_one, get_jobs
from haulier.queue.rows import StoredJob, job_of

__all__ = [
    "Draft",
    "Enqueued",
    "JobFilter",
    "Overview",
    "Page",
    "QueueDepth",
    "Receipt",
    "Stored",
    "StoredJob",
    "cancel",
    "draft",
    "enqueue",
    "enqueue_all",
    "enqueue_one",
    "get",
    "list_jobs",
    "overview",
    "ping",
    "retry",
]


# An overview tells apart so many queues, and reads so many pages of jobs: 128 MB, half a million small jobs.
MOST_QUEUES, MOST_PAGES = 100, 16_384
# What one page of a list brings at most, of payloads, errors and results together, and one job more.
PAGE_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; `after` is the (created_at, id) of the last one already seen.

    Shape: queues are those that the caller may see; None: every one.
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
    """Some jobs of a list. Shape: has_more tells whether there are others behind them."""

    jobs: list[StoredJob]
    has_more: bool


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many live jobs of a queue stand in a status, and the age of the oldest that is due."""

    queue: str
    status: JobStatus
    jobs: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What /metrics says of the whole system, from one query."""

    depths: list[QueueDepth] = field(default_factory=list)
    workers: int = 0
    workers_without_scans: int = 0
    oldest_beat_seconds: float | None = None
    history_days_ahead: float = 0.0


def get(conn: Connection, job_id: UUID) -> StoredJob:
    """Return the job, live or finished. Raises: JobNotFound."""
    found = get_jobs(conn, [job_id])
    if not found:
        raise JobNotFound(job_id)
    return found[0]


def list_jobs(conn: Connection, wanted: JobFilter) -> Page:
    """Return the jobs, newest first (created_at, then id, descending), at most `limit` and PAGE_BYTES of them.

    Shape: one job at least, where there is one, however large.
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


def cancel(conn: Connection, job_id: UUID, *, actor: str | None = None) -> bool:
    """Cancel the job: True when it is cancelled, False when it runs and was asked to stop. It is noted who did it.

    Raises: JobNotFound; InvalidTransition when it had ended.
    """
    while True:
        done = with_history(conn, lambda: _cancel_live(conn, job_id, actor))
        if done is not None:
            return done
        # The job may have ended while its lock was waited for, and only a new snapshot sees where it went.
        job = get(conn, job_id)
        if job.status.is_final:
            raise InvalidTransition(job_id, job.status, "cancel")


def _cancel_live(conn: Connection, job_id: UUID, actor: str | None) -> bool | None:
    with transaction(conn):
        [cancelled] = rows(conn, "cancel", id=job_id, actor=actor)
    return None if cancelled["was"] is None else cancelled["was"] == "waiting"


def retry(conn: Connection, job_id: UUID, *, actor: str | None = None) -> StoredJob:
    """Queue a failed or cancelled job again, with a full budget; it is noted who did it.

    Raises: JobNotFound, InvalidTransition; NotRetryable where somebody has written another job of that id, or a row of
            history that was never a job.
    """
    try:
        back = rows(conn, "retry", json_as_text=True, id=job_id, actor=actor)
    except errors.UniqueViolation as error:
        raise NotRetryable(job_id, "there is another job with its id") from error
    except errors.CheckViolation as error:
        raise NotRetryable(job_id, f"no job may be like that ({error.diag.constraint_name})") from error
    if back:
        return job_of(back[0])
    raise InvalidTransition(job_id, get(conn, job_id).status, "retry")


def overview(conn: Connection) -> Overview:
    """Return the depth of the largest queues and of the others together, and how the workers are.

    Shape: the others are `other`, and a queue of that name always is among them. Of more than MOST_PAGES pages of jobs
           that wait, what is told of these is an estimate from so many.
    """
    depths = [
        QueueDepth(row["queue"], JobStatus(row["status"]), row["jobs"], row["oldest_due_seconds"])
        for row in rows(conn, "queue_depths", most=MOST_QUEUES, most_pages=MOST_PAGES)
    ]
    [health] = rows(conn, "worker_health")
    workers, without_scans = health["workers"], health["workers_without_scans"]
    return Overview(depths, workers, without_scans, health["oldest_beat_seconds"], days_ahead(conn))


def ping(conn: Connection) -> None:
    """Make one round trip. Raises: DatabaseUnavailable; ReadOnly where no job can be enqueued."""
    [row] = rows(conn, "ping")
    if row["is_read_only"]:
        raise ReadOnly


def workers_without_scans(conn: Connection) -> int:
    """Return how many workers cannot look for jobs that are new to them."""
    [row] = rows(conn, "worker_health")
    return int(row["workers_without_scans"])
