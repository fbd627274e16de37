"""What a client does with the queue: enqueue, get, list, change, cancel, retry, copy, delete. Each function takes a
connection, so that a caller can pass its own transaction."""

from __future__ import annotations

from haulier.queue.produce.cancel import cancel
from haulier.queue.produce.change import Changes, change
from haulier.queue.produce.copy import copy
from haulier.queue.produce.delete import delete
from haulier.queue.produce.draft import Draft, Enqueued, Receipt, Stored, draft
from haulier.queue.produce.enqueue import enqueue_all, enqueue_each, enqueue_one
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look import PAGE_BYTES, Count, Page, count_jobs, get, list_jobs
from haulier.queue.produce.overview import (
    Overview,
    QueueDepth,
    WorkerHealth,
    check_writes,
    has_unserved,
    overview,
    ping,
    worker_health,
)
from haulier.queue.produce.retry import retry
from haulier.queue.rows import StoredJob

__all__ = [
    "PAGE_BYTES",
    "Changes",
    "Count",
    "Draft",
    "Enqueued",
    "JobFilter",
    "Overview",
    "Page",
    "QueueDepth",
    "Receipt",
    "Stored",
    "StoredJob",
    "WorkerHealth",
    "cancel",
    "change",
    "check_writes",
    "copy",
    "count_jobs",
    "delete",
    "draft",
    "enqueue_all",
    "enqueue_each",
    "enqueue_one",
    "get",
    "has_unserved",
    "list_jobs",
    "overview",
    "ping",
    "retry",
    "worker_health",
]
