"""Schedules and their ticks for the measure of statements."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from haulier.queue.produce.schedule_health import unfired
from haulier.queue.produce.schedules import Tick, states_of_fired
from lab.bench.planted import SCHEDULE


def fired(fixture: Any) -> list[Tick]:
    """Return ticks that have each enqueued a job, which waits."""
    now = datetime.now(UTC)
    return [Tick(now, "fired", now, now, job_id) for job_id in fixture.queued(40)]


def read_states(fixture: Any, ticks: list[Tick]) -> object:
    """Read how their jobs are."""
    return states_of_fired(fixture.conn, ticks)


def scheduled(fixture: Any) -> object:
    """Put a schedule there."""
    return fixture.run(SCHEDULE)


def read_unfired(fixture: Any, _: object) -> object:
    """Read why it does not fire."""
    return unfired(fixture.conn, "nightly", retention_days=30)
