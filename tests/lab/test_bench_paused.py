"""The benchmark of a drain beside paused queues, at a size that tells whether it measures. It ..."""

from __future__ import annotations

import pytest

from lab.bench.measures import paused
from lab.bench.two_drains import Look, taken
from tests.lab.entries import named
from tests.often import often


@pytest.mark.parametrize("entry", often(named(paused.entries()), ["paused"]))
def test_a_drain_beside_paused_queues_ends(bench, entry):
    figures = entry.once(bench)

    assert figures["jobs"] == 2000
    # In so few jobs there may be no time between two looks.
    assert figures["ratio"] is None or figures["ratio"] >= 0


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_drains_counts_what_each_takes_while_both_have_jobs(order):
    numbers = [(1, 5), (30, 25), (40, 35), (90, 60), (0, 99)]
    looks = iter(
        [[Look(each, 2.0 * at + order[place]) for place, each in enumerate(pair)] for at, pair in enumerate(numbers)]
    )

    alone, beside = taken(lambda: next(looks), 400, 0.0)

    # Between the first look and the last at which both have jobs.
    assert alone / beside == 50 / 25
