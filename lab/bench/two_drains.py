"""Drains two databases at the same time, and tells how many jobs a second are taken from each.

Drains one after another differ by a tenth and more in how fast the machine is just then. At the same time it is as
fast for both: what tells is how many jobs of each are taken from soon after the first until one has no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from lab.bench.contenders.haulier import FILL, next_job
from lab.bench.harness import Bench
from lab.waiting import pause, until

WARM_UP = 0.05
# A look costs some milliseconds.
EVERY_SECONDS, DRAIN_SECONDS = 1.0, 600.0


class Look(NamedTuple):
    """The number of a database's next job, 0 where none is left, and when it was asked for."""

    number: int
    time: float


def drain(bench: Bench, both: Sequence[Connection], jobs: int, order: Sequence[int]) -> tuple[float, float]:
    """Return how many jobs a second are taken from each. Shape: `order` says which of the two comes first."""
    _fill([both[place] for place in order], jobs)
    first, second = taken(partial(_looks, both, order), jobs, bench.seconds(EVERY_SECONDS))
    for conn in both:
        until(partial(_is_drained, conn), within=DRAIN_SECONDS, what="the other one is drained")
    return first, second


def _fill(both: Sequence[Connection], jobs: int) -> None:
    """Give both their jobs at about the same time."""
    for statement, parameters in (("BEGIN", None), (FILL, ("noop", jobs)), ("COMMIT", None)):
        for conn in both:
            with conn.cursor() as cursor:
                cursor.execute(statement, parameters)


def taken(look: Callable[[], Sequence[Look]], jobs: int, every: float) -> tuple[float, float]:
    """Return how many jobs a second each takes, from soon after the first until one has no more. Units: seconds."""
    until(
        lambda: all(not at.number or at.number > jobs * WARM_UP for at in look()),
        within=DRAIN_SECONDS, every=every / 10, what="both take jobs",
    )  # fmt: skip
    first = now = look()
    while True:
        last = now
        pause(max(0.0, last[0].time + every - time.perf_counter()))
        now = look()
        if not all(at.number for at in now):
            break
    alone, beside = (
        (b.number - a.number) / (b.time - a.time) if b.time > a.time else 0.0 for a, b in zip(first, last, strict=True)
    )
    return alone, beside


def _looks(both: Sequence[Connection], order: Sequence[int]) -> list[Look]:
    found = {place: Look(next_job(both[place]), time.perf_counter()) for place in order}
    return [found[place] for place in range(2)]


def _is_drained(conn: Connection) -> bool:
    return next_job(conn) == 0
