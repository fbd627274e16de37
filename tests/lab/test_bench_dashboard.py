"""The benchmark of the dashboard, at a size that tells whether it measures. It ..."""

from __future__ import annotations

import pytest

from lab.bench import beside_tabs, harness, report
from lab.bench.measures import dashboard
from lab.bench.results import Repetitions, Result, Row
from tests.lab.entries import named
from tests.often import often


@pytest.mark.parametrize("entry", often(named(dashboard.entries()), ["ui.jobs.show", "poll-same"]))
def test_times_pages_polls_and_what_runs_beside_open_tabs(bench, entry):
    figures = entry.once(bench)

    # While this process waits for a processor, a job starts before its commit was answered: a wait of 0 and no ratio.
    assert all(0 <= value < 1_000_000 for name, value in figures.items() if (name, value) != ("of_alone", None))
    assert figures


def test_says_which_budgets_are_met_and_that_a_page_has_no_figures():
    figures = {"p50_ms": 20.0, "p95_ms": 140.0, "kilobytes": 80.0, "plain_kilobytes": 50.0}
    taken = {
        "ui.overview.show": [figures],
        "ui.jobs.show": [{**figures, "p95_ms": 151.0}],
        dashboard.SLOWER[0]: [{**figures, "p50_ms": 31.0}],
        "ui.kinds.one": [],
        "poll-same": [{"p50_ms": 1.0, "p95_ms": 5.0}],
    }
    rows = [Row(name, name, failed=None if taken[name] else "RuntimeError: 500") for name in taken]
    result = Result("dashboard", "The dashboard", "2030-01-01 10:00", None, "make bench", {}, {}, {}, rows)
    harness.summarize(dashboard, Repetitions(taken), result)

    told = report.section(dashboard, result)

    lines = {line.partition(" ≤ ")[0]: line.split("|")[-2].strip() for line in told.splitlines() if " ≤ " in line}
    assert lines["| pages without figures"] == "**missed**"
    assert lines["| p95 ms of the slowest page"] == "**missed**"
    assert lines["| p50 ms of the slowest page, as first links lead there"] == "met"
    assert lines["| kB of the largest page, without charts"] == "met"
    assert lines["| p95 ms of a poll with nothing new"] == "met"
    assert lines["| p95 ms of a poll with news"] == "not measured"


def test_a_turn_in_which_nothing_was_measured_has_no_ratio():
    assert beside_tabs.median_ratio([1.0, 3.0, 5.0], [0.0, 2.0, 2.0]) == 2.0
    assert beside_tabs.median_ratio([1.0], [0.0]) is None
