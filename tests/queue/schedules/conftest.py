"""The time by which schedules go, and workers as far as schedules go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from haulier.postgres.pool import Database
from haulier.worker.link.outage import Outage
from haulier.worker.steps.fire import Firing
from tests.queue.schedules.schedules import Sql, set_time


@pytest.fixture
def time(sql: Sql) -> Iterator[Callable[[str], None]]:
    """Give a function that moves the time by which schedules go."""
    yield lambda expression: set_time(sql, expression)
    set_time(sql)


@pytest.fixture
def at(time: Callable[[str], None]) -> Callable[[str], None]:
    """Give a function that sets that time to a day of January 2030 and a time of day."""
    return lambda clock: time(f"timestamptz '2030-01-{clock}Z'")


@pytest.fixture
def steps(database: str) -> Iterator[Callable[[], Firing]]:
    """Give a function that starts one more worker, as far as schedules go."""
    with ExitStack() as started:

        def start() -> Firing:
            step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
            started.callback(step.database.close)
            return step

        yield start


@pytest.fixture
def step(steps: Callable[[], Firing]) -> Firing:
    return steps()
