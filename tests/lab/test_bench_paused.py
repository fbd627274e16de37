"""The benchmark of a drain beside paused queues, at a size that tells whether it measures. It ..."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bench.harness import Bench
from lab.bench.measures import paused
from lab.servers import Postgres
from tests.lab.entries import named
from tests.often import often


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[Bench]:
    """Give little to do on the tests' server."""
    server = Postgres(postgres, None)
    yield Bench(server, tmp_path, scale=0.002)
    server.forget_templates()


@pytest.mark.parametrize("entry", often(named(paused.entries()), ["paused"]))
def test_a_drain_beside_paused_queues_ends(bench, entry):
    figures = entry.once(bench)

    assert figures["jobs"] == 2000
    # In so few jobs there may be no time between two looks.
    assert figures["ratio"] is None or figures["ratio"] >= 0


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_drains_counts_what_each_takes_while_both_have_jobs(monkeypatch, order):
    asked = {"alone": iter([1, 30, 40, 90, 0]), "beside": iter([5, 25, 35, 60, 99])}
    clock = itertools.count()
    monkeypatch.setattr(paused, "next_job", lambda conn: next(asked[conn]))
    monkeypatch.setattr(paused.time, "perf_counter", lambda: float(next(clock)))

    alone, beside = paused.taken(["alone", "beside"], order, 400, 0.0)

    # Between the first look and the last at which both have jobs.
    assert alone / beside == 50 / 25
