"""Lanes as a scan finds them, and jobs as a claim brings them, at given places."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from haulier.domain.claim import Lane, Mark
from haulier.queue.rows import ClaimedJob
from tests.worker.jobs import a_claimed_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1) -> ClaimedJob:
    """Return a claimed job at this place of its lane."""
    run_at = NOW + timedelta(seconds=seconds)
    return a_claimed_job(queue=queue, priority=priority)._replace(run_at=run_at, id=UUID(int=n))


def lane(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1, due_in: float = -1.0) -> Lane:
    return Lane(Mark(queue, priority, NOW + timedelta(seconds=seconds), UUID(int=n)), due_in)
