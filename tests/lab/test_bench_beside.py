"""The comparison of two checkouts, at a size that tells whether it compares. It ..."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.bench import beside
from lab.bench.beside import MEASURES, Compared
from lab.bench.by_fours import by_fours
from lab.waiting import ROOT
from tests.often import often


@pytest.mark.parametrize("name", often([(name, name) for name in MEASURES], ["start"]))
def test_measures_this_checkout_beside_another_one(bench, name, tmp_path):
    # The same files: what tells the other checkout is its path.
    other = tmp_path / "before"
    other.symlink_to(ROOT)

    found = beside.compared(bench, [other, ROOT], [name], turns=1)

    # Of so few jobs, on a busy machine, half may start before the commit of their INSERT is answered.
    assert found[name][0] >= 0


@pytest.mark.parametrize("is_a_wait", [False, True])
def test_tells_how_many_times_as_fast_the_second_is_whoever_comes_first(bench, monkeypatch, is_a_wait):
    places = []

    def take(_bench, sides):
        places.append([side.checkout.name for side in sides])
        figures = {"before": 2.0, "now": 1.0} if is_a_wait else {"before": 1.0, "now": 2.0}
        return tuple(figures[side.checkout.name] for side in sides)

    monkeypatch.setitem(MEASURES, "planted", Compared(take, "jobs/s", is_a_wait))

    found = beside.compared(bench, [Path("before"), Path("now")], ["planted"], turns=2)

    assert found == {"planted": [2.0, 2.0]}
    assert places == [["before", "now"], ["now", "before"]]


def test_a_wait_that_is_too_short_to_tell_is_no_error():
    assert Compared(beside.started, "ms", is_a_wait=True).faster(1.0, 0.0) == math.inf


def test_takes_turns_that_weigh_what_grows_on_both():
    values = iter([1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0])
    order = []

    first, second = by_fours(lambda place: order.append(place) or next(values), 2)

    assert order == [0, 1, 1, 0] * 2
    assert first == second == [2.5, 25.0]
