"""The benchmark of the dashboard, at a size that tells whether it measures. It ..."""

from __future__ import annotations

import pytest

from lab.bench.measures import dashboard
from lab.bench.results import Result, Row
from tests.lab.entries import named
from tests.often import often


@pytest.mark.parametrize("entry", often(named(dashboard.entries()), ["ui.jobs.show", "poll-same"]))
def test_times_pages_polls_and_what_runs_beside_open_tabs(bench, entry):
    figures = entry.once(bench)

    assert all(0 < value < 1_000_000 for value in figures.values())
    assert figures


def test_says_which_budgets_are_met_and_that_a_page_has_no_figures():
    figures = {"p50_ms": 20.0, "p95_ms": 140.0, "kilobytes": 80.0, "plain_kilobytes": 50.0}
    rows = [
        Row("ui.overview.show", "GET /ui", repetitions=[figures]),
        Row("ui.jobs.show", "GET /ui/jobs", repetitions=[{**figures, "p95_ms": 151.0}]),
        Row(dashboard.SLOWER[0], "GET", repetitions=[{**figures, "p50_ms": 31.0}]),
        Row("ui.kinds.one", "GET /ui/kinds/<name>", failed="RuntimeError: 500"),
        Row("poll-same", "poll", repetitions=[{"p50_ms": 1.0, "p95_ms": 5.0}]),
    ]
    result = Result("dashboard", "The dashboard", "2030-01-01 10:00", {}, {}, {"repetitions": 1}, rows)

    told = dashboard.report(result)

    lines = {line.partition(" ≤ ")[0]: line.split("|")[-2].strip() for line in told.splitlines() if " ≤ " in line}
    assert lines["| pages without figures"] == "**missed**"
    assert lines["| p95 ms of the slowest page"] == "**missed**"
    assert lines["| p50 ms of the slowest page, as first links lead there"] == "met"
    assert lines["| kB of the largest page, without charts"] == "met"
    assert lines["| p95 ms of a poll with nothing new"] == "met"
    assert lines["| p95 ms of a poll with news"] == "not measured"
