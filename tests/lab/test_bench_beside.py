"""Two things that are measured by turns, at a size that shows whether they are compared. It ..."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.bench import beside
from lab.bench.beside import MEASURES, Compared, Look, taken
from lab.bench.contenders.haulier import Haulier
from lab.bench.lone_job import Point, measured
from lab.waiting import ROOT
from tests.often import often


@pytest.mark.parametrize("name", often([(name, name) for name in MEASURES], ["start"]))
def test_measures_this_checkout_beside_another_one(bench, name, tmp_path):
    # The same files under another path.
    other = tmp_path / "before"
    other.symlink_to(ROOT)

    ratios = beside.compared(bench, [other, ROOT], [name], turns=1)

    # Of so few jobs, on a busy machine, half may start before the commit of their INSERT is answered.
    assert ratios[name][0] >= 0


def test_compares_two_checkouts_in_either_order(bench, monkeypatch):
    order = []

    def take(is_a_wait):
        def planted(_bench, sides):
            names = [side.checkout.name for side in sides]
            order.append(names)
            figures = {"before": 2.0, "now": 1.0} if is_a_wait else {"before": 1.0, "now": 2.0}
            return tuple(figures[name] for name in names)

        return Compared(planted, "jobs/s", is_a_wait)

    for name, is_a_wait in (("rate", False), ("wait", True)):
        monkeypatch.setitem(MEASURES, name, take(is_a_wait))

    ratios = beside.compared(bench, [Path("before"), Path("now")], ["rate", "wait"], turns=2)

    assert ratios == {"rate": [2.0, 2.0], "wait": [2.0, 2.0]}
    assert order == [["before", "now"], ["before", "now"], ["now", "before"], ["now", "before"]]
    # A wait that is too short to be measured.
    assert Compared(beside.started, "ms", is_a_wait=True).faster(1.0, 0.0) == math.inf


def test_counts_of_two_drains_what_each_takes_while_both_have_jobs():
    numbers = [(1, 5), (30, 25), (40, 35), (90, 60), (0, 99)]
    looks = iter([[Look(each, 2.0 * at + place) for place, each in enumerate(pair)] for at, pair in enumerate(numbers)])

    first, second = taken(lambda: next(looks), 400, 0.0)

    # Between the first look and the last at which both have jobs.
    assert first / second == 50 / 25


@pytest.mark.slow
def test_measures_a_lone_job_alone_and_beside_other_lanes(bench):
    for point in (Point("paused", 3, "later"), Point("emptied", 3, "new")):
        alone, others = measured(bench, Haulier("lone job"), point, jobs=4)

        # A job may start before its commit is answered, which counts as 0. One that never starts fails.
        assert 0 <= alone["p50_ms"] <= alone["max_ms"]
        assert 0 <= others["p50_ms"] <= others["max_ms"]
