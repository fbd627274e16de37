"""The jobs of a list: the columns that fit their statuses, and the orders in which they can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from haulier.domain.job import FINAL_STATUSES, WAITING_STATUSES, JobOrder, JobStatus
from haulier.postgres.statements import Connection
from haulier.queue.health.worker_list import list_workers
from haulier.queue.rows import StoredJob
from haulier.queue.search.running import RunningJob, list_running
from haulier.queue.stories.upcoming import NextJob, upcoming
from haulier.requests.fields import read_uuid

from ...http.auth import caller
from ..kit.job_list_url import Look
from ..kit.reading import kept, part
from ..words.filters import timeout_of

# A page of the list has at most 60 kB: it shows one line of an error, and the job's own page shows all of it.
MOST_ERROR, MOST_WORKERS = 120, 200

ListedJob = StoredJob | RunningJob | NextJob


def listed(job: StoredJob) -> StoredJob:
    """Return the job without its texts but the first line of its error: a list of whole jobs may have 8 MB."""
    changes: dict[str, Any] = dict.fromkeys(("payload", "errors", "result", "progress"))
    return job._replace(**changes, last_error=(job.last_error or "").strip().partition("\n")[0][:MOST_ERROR])


def columns_of(look: Look) -> str:
    """Return which columns the list has: those for next, waiting, running or ended jobs, or for any."""
    if look.sort == JobOrder.DUE:
        return "next"
    statuses = look.statuses
    fitting = {"waiting": set(WAITING_STATUSES), "running": {JobStatus.RUNNING}, "ended": set(FINAL_STATUSES)}
    return next((name for name, those in fitting.items() if statuses and statuses <= those), "any")


def is_running(job: ListedJob) -> bool:
    """Return whether a worker has claimed the job."""
    return isinstance(job, RunningJob) or job.status is JobStatus.RUNNING


def deadline_of(job: StoredJob | RunningJob) -> datetime | None:
    """Return when a running job has used up its timeout, if it began when it was claimed; None: never."""
    timeout = timeout_of(job.kind, job.timeout_seconds)
    return job.started_at + timedelta(seconds=timeout) if timeout and job.started_at else None


def took_seconds(job: StoredJob) -> float | None:
    """Return how long the last attempt of a job took that has ended; None: not known."""
    # A job that was cancelled while it waited has started_at of an earlier attempt, and no worker.
    is_of_a_run = job.status is not JobStatus.CANCELLED or job.worker_id is not None
    if job.finished_at is None or job.started_at is None or not is_of_a_run:
        return None
    return max(0.0, (job.finished_at - job.started_at).total_seconds())


def in_order(conn: Connection, look: Look) -> Sequence[ListedJob]:
    """Return the first jobs of a filter in its order, which `Look.in_order` has checked."""
    own = caller().queues
    queues = look.values("queue") or own
    if own is not None and queues is not None:
        queues = [queue for queue in queues if queue in own]
    if look.sort == JobOrder.DUE:
        # Without their last errors: one may quote what the payload hides, and payloads are not read for this.
        return [job for queue in queues or () for job in upcoming(conn, queue, limit=look.limit).jobs]
    worker = read_uuid(look.value("worker"))
    return list_running(conn, queues=queues, kinds=look.values("kind") or None, worker=worker, limit=look.limit)[0]


def worker_names() -> Mapping[str, str]:
    """Return the names of the live workers by id; of the newest if there are more than MOST_WORKERS."""
    return kept("worker names", (), lambda: part(_names)).value or {}


def _names(conn: Connection) -> dict[str, str]:
    found, _ = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues, counts_jobs=False)
    return {str(each.id): each.name for each in found}
