"""Enqueue jobs and act on them. Each function takes a connection, so that a caller can pass its own transaction."""

from __future__ import annotations

from haulier.queue.jobs.cancel import cancel
from haulier.queue.jobs.change import Changes, change
from haulier.queue.jobs.copy import copy
from haulier.queue.jobs.delete import delete
from haulier.queue.jobs.draft import Draft, Enqueued, Receipt, Stored, draft
from haulier.queue.jobs.enqueue import enqueue_all, enqueue_each, enqueue_one
from haulier.queue.jobs.retry import retry

__all__ = [
    "Changes",
    "Draft",
    "Enqueued",
    "Receipt",
    "Stored",
    "cancel",
    "change",
    "copy",
    "delete",
    "draft",
    "enqueue_all",
    "enqueue_each",
    "enqueue_one",
    "retry",
]
