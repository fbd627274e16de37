"""The benchmark, at a size that shows whether it measures. It ..."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab.bench import load, results, tables
from lab.bench.abuse import CALLS, Abuser
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, run
from lab.bench.measures import ALL, dashboard, reads
from lab.bench.measures.busy_caller import BUSY
from lab.bench.measures.post import BODY, bare
from lab.bench.results import Repetitions, Row, Spread
from lab.bench.targets import at_least, at_most, figure_of
from lab.servers import ask, connect
from tests.http.callers import SECRET
from tests.often import often
from tests.web import gunicorn

# Of each measure the entries that are run here; the calls of `reads` and the moves of `busy_caller` have tests of their
# own. `make test` runs those in QUICK.
ENTRIES = {
    "drain": ("raw", "haulier-1"),
    "queues": ("haulier-1000",),
    "enqueue": ("haulier-http",),
    "post": ("haulier",),
    "insert": ("haulier-idle",),
    "latency": ("haulier",),
    "snapshot": ("haulier-held",),
    "distance": ("haulier-10-ms",),
    "claim_flat": ("haulier-deferred",),
    "isolated": ("isolated-1",),
    "operation": ("retry",),
    "schedules": ("calm", "idle"),
    "refused_schedules": ("refused-3000",),
    "dashboard": ("ui.jobs.show", dashboard.SLOWER[0], "poll-same", "poll-new", "drain", "post", "insert"),
    "bytes": ("haulier-results",),
    "costs": ("haulier-0.2-kb",),
}
QUICK = ("drain raw", "queues haulier-1000", "isolated isolated-1", "dashboard ui.jobs.show", "dashboard poll-same")
# What a worker must not leave, or do, in any of them.
NONE_OF = ("not_done", "kills", "crashes", "lost", "amiss", "missed", "undecided", "failed")


def taken(**rates: list[float]) -> Repetitions:
    """Return the repetitions of a row for each name, with these jobs per second."""
    return Repetitions({name: [{"rate": each} for each in values] for name, values in rates.items()})


# Figures --------------------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_between_repetitions_of_the_same_number():
    # The machine was ten times as slow in the second repetition, for both.
    measured = taken(ours=[100.0, 8.0, 90.0], theirs=[100.0, 10.0, 100.0])

    assert measured.ratio("rate", "ours", "theirs") == Spread(0.9, 0.8, 1.0, 3)
    assert measured.ratio("rate", "ours", "unknown") is None


# The page -------------------------------------------------------------------------------------------------------------


def test_a_target_is_met_or_missed_by_its_median():
    of = figure_of("ours", "rate")
    bounds = [at_least("fast", of, 0.8), at_most("slow", of, 5.0), at_least("unknown", of, 1.0)]

    text = tables.target_list(bounds, {"fast": Spread(0.9, 0.1, 1.0, 3), "slow": Spread(9.0, 1.0, 9.0, 3)})

    assert text.splitlines()[2:] == [
        "- fast ≥ 0.8: 0.90 (0.10–1.00), met",
        "- slow ≤ 5: 9.00 (1.00–9.00), **missed**",
        "- unknown ≥ 1: not measured",
    ]


# The harness ----------------------------------------------------------------------------------------------------------


def test_interleaves_repetitions_and_does_not_repeat_one_that_failed(bench, tmp_path):
    order = []

    def once(name, bench):
        order.append(name)
        if name == "b":
            raise RuntimeError("it broke")
        return {"rate": 1.0}

    class Three:
        NAME, TITLE, TABLES = "three", "Three", []
        TARGETS = [at_least("fast", figure_of("a", "rate"), 0.5), at_least("b", figure_of("b", "rate"), 1)]

        def entries(self):
            names = {"a": None, "b": None, "c": "there is no c"}
            return [Entry(name, name, lambda bench, name=name: once(name, bench), no) for name, no in names.items()]

    measured = run(Three(), bench, repetitions=3)
    measured.save(tmp_path)

    kept = results.load("three", tmp_path)
    assert order == ["a", "b", "a", "a"]
    assert kept == measured
    assert [row.figures for row in kept.rows] == [{"rate": Spread(1.0, 1.0, 1.0, 3)}, {}, {}]
    assert [(row.failed, row.skipped) for row in kept.rows[1:]] == [
        ("RuntimeError: it broke", None),
        (None, "there is no c"),
    ]
    assert kept.targets == {"fast": Spread(1.0, 1.0, 1.0, 3)}
    assert kept.command == "make bench ONLY=three REPETITIONS=3 SCALE=0.002"


# The measures ---------------------------------------------------------------------------------------------------------


def cases() -> list[tuple[str, Any, str]]:
    """Return a case for each entry that is run: its name, its measure and its entry."""
    return [(f"{each.NAME} {name}", each, name) for each in ALL for name in ENTRIES.get(each.NAME, ())]


def test_every_measure_is_run_by_a_test():
    assert {measure.NAME for measure in ALL} == {*ENTRIES, "reads", "busy_caller"}


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("own_kinds")
@pytest.mark.parametrize(("measure", "name"), often(cases(), QUICK))
def test_measures_in_short(bench: Bench, measure: Any, name: str, monkeypatch: pytest.MonkeyPatch):
    # The measure of isolated kinds imports it anew: its kinds are forgotten after each test.
    monkeypatch.delitem(sys.modules, "lab.bench.kinds", raising=False)
    [entry] = [each for each in measure.entries() if each.name == name]
    if entry.missing:
        pytest.skip(entry.missing)

    figures = entry.once(bench)

    row = Row(name, name, figures={what: Spread.of([value]) for what, value in figures.items() if value is not None})
    assert any(column.cell(row) != "–" for table in measure.TABLES for column in table.columns)
    # A short turn on a busy machine may measure 0, and has no ratio then.
    assert all(value is None or value >= 0 for value in figures.values())
    assert {what: figures[what] for what in NONE_OF if figures.get(what)} == {}


def test_reads_by_every_call_beside_a_history(bench):
    figures = {entry.name: entry.once(bench) for entry in reads.entries()}

    followed = figures.pop("rare")
    assert followed["jobs"] >= 7
    assert [name for name, each in figures.items() if not 0 < each["p50_ms"] <= each["p95_ms"]] == []


def test_the_bare_view_and_the_load_generator_store_a_job_for_each_answer(bench):
    with Haulier().home(bench.server) as url, bare(url) as port, closing(connect(url)) as conn:
        figures = load.post(port, "/jobs", BODY, connections=2, seconds=0.5, sender=load.OURS)

        stored = ask(conn, "SELECT count(*) FROM haulier.job")

    assert stored == round(figures["per_second"] * 0.5) > 0


def test_each_move_of_a_busy_caller_reaches_what_it_is_about(database: str, eventually: Callable[..., Any]) -> None:
    expected = {"gets": 200, "dry_runs": 200, "searches": 200, "scrapes": 200, "sign_ins": 403}
    assert {*CALLS, "sign_ins"} == set(expected) == {*BUSY, "gets"}

    answers = {}
    with gunicorn(database, eventually, WEB_CONCURRENCY="1", HAULIER_API_KEY=SECRET) as server:
        port = urlsplit(server.url).port
        assert port
        for move in expected:
            with Abuser(port, SECRET, seed=1, threads=1, moves=[move]) as abuser:
                eventually(lambda: abuser.answers.total() >= 3)
            answers[move] = abuser.answers

    # Before the failures of the address are used up.
    assert [move for move, status in expected.items() if (move, status) not in answers[move]] == []
    assert {status for each in answers.values() for _, status in each} <= {200, 403, 429}
