"""The lanes of a worker: as a scan finds them, with jobs as a claim brings them, at given places."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from haulier.domain.claim import Lane, Mark
from haulier.queue.rows import ClaimedJob
from haulier.worker.lanes.marks import Marks
from tests.worker.jobs import a_claimed_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lanes(clock) -> Marks:
    return Marks(clock=clock)


@pytest.fixture
def scan(lanes, clock) -> Callable[..., None]:
    """Give a function that notes a scan which has found these lanes and took no time."""
    return lambda *found, **more: lanes.scanned(found, began_at=clock.now, **more)


@pytest.fixture
def claim(lanes) -> Callable[..., None]:
    """Give a function that notes a claim which has read all marks and brought these jobs, and all there were."""
    return lambda *jobs, is_short=True: lanes.claimed(jobs, is_short=is_short, read=lanes.marks())


def at(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1) -> ClaimedJob:
    run_at = NOW + timedelta(seconds=seconds)
    return a_claimed_job(queue=queue, priority=priority)._replace(run_at=run_at, id=UUID(int=n))


def lane(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1, due_in: float = -1.0) -> Lane:
    return Lane(Mark(queue, priority, NOW + timedelta(seconds=seconds), UUID(int=n)), due_in)


def many(count: int, letter: str = "q", **more: float) -> list[Lane]:
    """Return lanes of so many queues, each a second behind the one before."""
    return [lane(n, queue=f"{letter}{n}", **more) for n in range(count)]


def queues(marks: list[Mark]) -> list[str]:
    return [mark.queue for mark in marks]
