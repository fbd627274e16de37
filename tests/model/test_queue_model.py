"""The queue, whatever is done to it in whatever order: it ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.model import SEED
from tests.model.machine import Queue
from tests.model.world import World


@pytest.fixture
def world(fresh_database: str) -> Iterator[World]:
    """Give a database of its own: the days of its history come and go."""
    with (
        closing(connect(fresh_database)) as conn,
        closing(connect(fresh_database)) as application,
        closing(connect(fresh_database)) as rival,
    ):
        migrate(conn, retention_days=30)
        application.autocommit = rival.autocommit = False
        yield World(fresh_database, conn, application, rival)


@pytest.mark.timeout(36_000)
def test_keeps_its_promises(world: World) -> None:
    machine: Callable[[], Queue] = seed(SEED)(lambda: Queue(world))

    run_state_machine_as_test(machine, settings=settings.get_profile("model"))
