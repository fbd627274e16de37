"""Jobs as the list shows them: their rows, with the columns that their statuses ask for, and the orders of the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.job import FINAL_STATUSES, WAITING_STATUSES, JobOrder, JobStatus
from haulier.postgres.statements import Connection
from haulier.queue.produce.running import RunningJob, list_running
from haulier.queue.produce.upcoming import NextJob, upcoming
from haulier.queue.produce.workers import list_workers
from haulier.queue.rows import StoredJob

from ..http.door import caller
from ..http.ids import read_uuid
from .look import Look
from .reading import kept, part
from .timeouts import timeout_of

# A page of the list has at most 60 kB; an error has one line there, and is whole on the page of its job.
MOST_ERROR, MOST_WORKERS = 120, 200


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the list shows it.

    Shape: error is the first line of the last one. deadline is when a running job has used up its timeout, if it began
           when it was claimed; took_seconds is what the last attempt of one that has ended took. is_to_stop tells
           of a running one that it was asked to stop.
    """

    id: UUID
    kind: str
    status: JobStatus
    queue: str
    priority: int
    attempts: int
    max_attempts: int
    created_at: datetime
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""
    worker_id: UUID | None = None
    deadline: datetime | None = None
    took_seconds: float | None = None
    is_to_stop: bool = False


def without_texts(job: StoredJob) -> StoredJob:
    """Return the job without what lists do not show: a page of whole jobs may have 8 MB."""
    changes: dict[str, Any] = dict.fromkeys(("payload", "errors", "result", "progress", "last_error"))
    return job._replace(**changes)


def columns_of(look: Look) -> str:
    """Return for which jobs the list has columns: next, waiting, running, ended, or any."""
    if look.sort == JobOrder.DUE:
        return "next"
    statuses = look.statuses
    fitting = {"waiting": set(WAITING_STATUSES), "running": {JobStatus.RUNNING}, "ended": set(FINAL_STATUSES)}
    return next((name for name, those in fitting.items() if statuses and statuses <= those), "any")


def row_of(job: StoredJob) -> Row:
    """Return the row of a job."""
    return replace(
        _plain(job, job.queue, job.status),
        run_at=job.run_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=_first_line(job.last_error),
        worker_id=job.worker_id,
        deadline=_deadline(job) if job.status is JobStatus.RUNNING else None,
        took_seconds=_took_seconds(job),
        is_to_stop=job.status is JobStatus.RUNNING and job.cancel_requested,
    )


def _plain(job: StoredJob | RunningJob | NextJob, queue: str, status: JobStatus) -> Row:
    """Return the row of a job without what only jobs of its status have."""
    return Row(job.id, job.kind, status, queue, job.priority, job.attempts, job.max_attempts, job.created_at)


def _first_line(error: str | None) -> str:
    return (error or "").strip().partition("\n")[0][:MOST_ERROR]


def _deadline(job: StoredJob | RunningJob) -> datetime | None:
    timeout = timeout_of(job.kind, job.timeout_seconds)
    return job.started_at + timedelta(seconds=timeout) if timeout and job.started_at else None


def _took_seconds(job: StoredJob) -> float | None:
    # One that was cancelled while it waited has begun for an earlier attempt alone, and no worker has ended it.
    is_of_a_run = job.status is not JobStatus.CANCELLED or job.worker_id is not None
    if job.finished_at is None or job.started_at is None or not is_of_a_run:
        return None
    return max(0.0, (job.finished_at - job.started_at).total_seconds())


def in_order(conn: Connection, look: Look) -> Sequence[Row]:
    """Return the first jobs in the order that is asked for, which its filters fit."""
    own = caller().queues
    queues = look.values("queue") or own
    if own is not None and queues is not None:
        queues = [queue for queue in queues if queue in own]
    if look.sort == JobOrder.DUE:
        return [_next(job, queue) for queue in queues or () for job in upcoming(conn, queue, limit=look.limit).jobs]
    worker = read_uuid(look.value("worker"))
    found, _ = list_running(conn, queues=queues, kinds=look.values("kind") or None, worker=worker, limit=look.limit)
    return [_running(job) for job in found]


def _next(job: NextJob, queue: str) -> Row:
    # Without its last error: that may quote what the payload hides, and payloads are not read for this.
    return replace(_plain(job, queue, job.status), run_at=job.run_at)


def _running(job: RunningJob) -> Row:
    return replace(
        _plain(job, job.queue, JobStatus.RUNNING),
        started_at=job.started_at,
        worker_id=job.worker_id,
        deadline=_deadline(job),
        is_to_stop=job.cancel_requested,
    )


def worker_names() -> Mapping[str, str]:
    """Return the names of the live workers, by their ids; of more than MOST_WORKERS those of the newest."""
    return kept("worker names", (), lambda: part(_names)).value or {}


def _names(conn: Connection) -> dict[str, str]:
    found, _ = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues, counts_jobs=False)
    return {str(each.id): each.name for each in found}
