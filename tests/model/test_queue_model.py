"""The queue, whatever is done to it in whatever order: it ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from haulier.postgres.connection import connect
from tests.model import EXAMPLES, FEW, SEED
from tests.model.machine import Queue
from tests.model.world import World


@pytest.fixture
def world(migrated_database: str) -> Iterator[World]:
    """Give a database of its own: the days of its history come and go."""
    with (
        closing(connect(migrated_database)) as conn,
        closing(connect(migrated_database)) as application,
        closing(connect(migrated_database)) as rival,
    ):
        application.autocommit = rival.autocommit = False
        yield World(migrated_database, conn, application, rival)


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize(
    "examples", [pytest.param(FEW, id="few"), pytest.param(EXAMPLES, id="many", marks=pytest.mark.slow)]
)
def test_keeps_its_promises(world: World, examples: int) -> None:
    machine: Callable[[], Queue] = seed(SEED)(lambda: Queue(world))

    run_state_machine_as_test(machine, settings=settings(settings.get_profile("model"), max_examples=examples))
