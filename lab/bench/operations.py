"""Operations for the measure of statements, with little to do, and the look that tells of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from haulier.domain.job import JobStatus
from haulier.domain.operation import OperationAction
from haulier.queue import consume
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.operations import Order, preview, start
from haulier.queue.produce.work_off import Worker, work_off

CANCELLED = JobFilter(statuses=[JobStatus.CANCELLED], kinds=["noop"])
TAGGED = JobFilter(tags=["a"])


def previewed(wanted: JobFilter) -> Callable[[Any, Any], object]:
    """Return the call that previews a retry."""
    return lambda fixture, _: preview(fixture.conn, Order(OperationAction.RETRY, wanted))


def started(wanted: JobFilter) -> Callable[[Any], Worker]:
    """Return what starts a retry, and returns who is to work it off."""

    def before(fixture: Any) -> Worker:
        start(fixture.conn, Order(OperationAction.RETRY, wanted), as_of=None, actor=None)
        return Worker(uuid4(), 15.0, 0.0)

    return before


def worked_off(fixture: Any, by: Worker) -> object:
    """Do a chunk."""
    return work_off(fixture.conn, by)


def suspects_of(*queues: str) -> Callable[[Any, Any], object]:
    """Return the call that looks for suspects in these queues, and for an operation."""
    return lambda fixture, _: consume.suspects_and_operations(fixture.conn, queues=queues)
