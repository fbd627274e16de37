"""What is done to all jobs of a filter at once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, WAITING_STATUSES, JobStatus


class OperationAction(StrEnum):
    """What an operation does to each job."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"
    CHANGE = "change"


class OperationStatus(StrEnum):
    """How far an operation is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class MatchedIs(StrEnum):
    """How well it is known how many jobs a filter matched."""

    EXACT = "exact"
    ABOUT = "about"
    MORE_THAN = "more_than"


# The states in which a job can be acted on.
ACTS_ON: Mapping[OperationAction, frozenset[JobStatus]] = {
    OperationAction.CANCEL: frozenset(LIVE_STATUSES),
    OperationAction.RETRY: frozenset([JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED]),
    OperationAction.DELETE: frozenset(FINAL_STATUSES),
    OperationAction.CHANGE: frozenset(WAITING_STATUSES),
}
# What is done to jobs that have not ended.
ACTS_ON_LIVE = frozenset([OperationAction.CANCEL, OperationAction.CHANGE])
