"""What tests of operations begin from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order
from haulier.queue.operations.work_off import Worker, work_off
from haulier.queue.search import job_list
from haulier.queue.search.job_filter import JobFilter

ALL = JobFilter()


def counts(operation: Operation) -> tuple[int, int, int, int]:
    return operation.matched, operation.done, operation.skipped, operation.failed


def status_of(conn, *ids) -> list[str]:
    found = {job.id: str(job.status) for job in job_list.get_jobs(conn, ids)}
    return [found.get(each, "gone") for each in ids]


@pytest.fixture
def done_by(conn) -> Callable[..., Operation]:
    """Give a function that works everything off, and returns the operation as it is then."""

    def done_by(operation: Operation, *, most_jobs: int = 1000) -> Operation:
        by = Worker(uuid4(), 15.0, 15.0)
        for _ in range(1000):
            if work_off(conn, by, most_jobs=most_jobs) is None:
                return ops.get_operation(conn, operation.id)
        raise AssertionError("it never ends")

    return done_by


@pytest.fixture
def start(conn) -> Callable[..., Operation]:
    def start(
        action: str, wanted: JobFilter = ALL, *, as_of: datetime | None = None, actor: str | None = "Ann", **given: Any
    ) -> Operation:
        return ops.start(conn, Order(OperationAction(action), wanted, **given), as_of=as_of, actor=actor)

    return start


@pytest.fixture
def preview(conn) -> Callable[..., ops.Preview]:
    def preview(action: str, wanted: JobFilter = ALL, **given: Any) -> ops.Preview:
        return ops.preview(conn, Order(OperationAction(action), wanted, **given))

    return preview


@pytest.fixture
def failed(running, settle):
    def failed(**options):
        job = running(**options)
        settle(job, Outcome.fail_for_good("no luck"))
        return job.id

    return failed
