"""Threads beside a test: several that act at the same moment, or some that act while the test goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from tests.patience import PATIENCE

Act = Callable[[], Any]


def at_the_same_moment(*acts: Act) -> list[Any]:
    """Return what each act returned, or the exception that it raised, in their order."""
    barrier = threading.Barrier(len(acts))

    def act_with_the_others(act: Act) -> Any:
        barrier.wait(PATIENCE)
        return act()

    with beside(*(partial(act_with_the_others, act) for act in acts)) as results:
        pass
    return results


@contextmanager
def beside(*acts: Act) -> Iterator[list[Any]]:
    """Run each act in a thread while the block runs, and wait for their ends.

    Gives a list that then holds what each returned, or the exception that it raised, in their order.
    """
    results: list[Any] = [None] * len(acts)

    def run(place: int) -> None:
        try:
            results[place] = acts[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        for thread in threads:
            thread.join(PATIENCE)


def connected(dsn: str, act: Callable[[Connection], Any], *, name: str = "haulier test rival") -> Act:
    """Return the act on a connection of its own, under this application_name."""

    def run() -> Any:
        with closing(connect(dsn, application_name=name)) as conn:
            return act(conn)

    return run
