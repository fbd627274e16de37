"""The benchmark's harness, at a size that tells whether it measures. It ..."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing

import pytest

from lab.bench import heavy, load, notes, report, results, tables
from lab.bench.contenders.haulier import Haulier
from lab.bench.contenders.raw import Raw
from lab.bench.harness import Entry, run
from lab.bench.measures import (
    ALL,
    bytes,
    dead_rows,
    drain,
    isolated,
    link,
    numbers,
    progress,
    queues,
    refused_schedules,
    schedules,
    slow_jobs,
)
from lab.bench.measures.latency import summary
from lab.bench.measures.post import BODY, bare
from lab.bench.results import Repetitions, Row, Spread
from lab.bench.slow_link import slow_link
from lab.bench.statements import CALLS
from lab.bench.targets import at_least, at_most, figure_of
from lab.page import NoMarkers, insert
from lab.servers import ask, connect
from lab.waiting import until
from tests.lab.entries import named
from tests.often import often

# Of the numbers what is counted, and all that reads: they share a filled database.
NUMBERS = [entry.name for entry in numbers.entries() if entry.name not in ("drain-off", "insert-off")]


def taken(**rates: list[float]) -> Repetitions:
    """Return the repetitions of a row for each name, with these jobs per second."""
    return Repetitions({name: [{"rate": each} for each in values] for name, values in rates.items()})


# Figures ----------------------------------------------------------------------------------------------------------


def test_a_spread_is_the_median_with_the_least_and_the_greatest():
    measured = taken(ours=[30.0, 10.0, 20.0])

    spread = measured.spread("ours", "rate")

    assert spread == Spread(20.0, 10.0, 30.0, 3)
    assert tables.spread_text(spread) == "20 (10 – 30)"
    assert measured.spread("ours", "another figure") is measured.spread("nobody", "rate") is None


def test_a_figure_that_some_repetitions_lack_is_the_spread_of_the_others():
    measured = Repetitions({"ours": [{"rate": 1.0, "ratio": None}, {"rate": 3.0, "ratio": 0.5}]})

    assert measured.spreads("ours") == {"rate": Spread(2.0, 1.0, 3.0, 2), "ratio": Spread(0.5, 0.5, 0.5, 1)}


def test_a_ratio_is_taken_between_repetitions_of_the_same_number():
    # The machine slowed down by ten in the second repetition, for both.
    measured = taken(ours=[100.0, 8.0, 90.0], theirs=[100.0, 10.0, 100.0])

    ratio = measured.ratio("rate", "ours", "theirs")

    assert ratio == Spread(0.9, 0.8, 1.0, 3)
    assert measured.ratio("rate", "ours", "nobody") is None


def test_the_greatest_of_some_rows_is_the_one_with_the_greatest_median():
    measured = taken(calm=[1.0, 50.0, 2.0], slow=[3.0, 4.0, 5.0], empty=[], other=[99.0])

    assert measured.greatest(["calm", "slow", "empty"], "rate") == Spread(4.0, 3.0, 5.0, 3)
    assert measured.greatest(["empty"], "rate") is None


def test_the_wait_of_a_job_that_started_before_its_commit_was_answered_is_none():
    waits = [-0.001, *[0.002] * 98, 0.05]

    figures = summary(waits)

    assert (figures["p50_ms"], figures["p99_ms"], figures["max_ms"]) == (2.0, 50.0, 50.0)


def test_the_share_of_a_worker_that_joins_is_counted_from_its_starts():
    # 16 starts each 200 ms by the first, all along, and by the second from 6 s on.
    waves = [(1, 0.2 * wave) for wave in range(50)] + [(2, 0.2 * wave) for wave in range(30, 50)]
    taken = [notes.Note(200, 100 + at, pid) for pid, at in waves for _ in range(16)]

    figures = slow_jobs.figures(taken, joined=106.0)

    assert figures["of_ideal"] == pytest.approx(1.0, abs=0.001)
    assert figures["share_after_1_s"] == 0.5
    assert figures["all_threads_busy_after_s"] == pytest.approx(0.0, abs=0.001)


def test_the_evenness_of_queues_is_each_repetitions_own_and_unknown_where_one_was_not_measured():
    one = [{"jobs_per_second": 100.0}, {"jobs_per_second": 10.0}]
    many = [{"jobs_per_second": 50.0}, {"jobs_per_second": 20.0}]

    assert queues.evenness(Repetitions({"one": one, "many": many})) == Spread(0.5, 0.5, 0.5, 2)
    assert queues.evenness(Repetitions({"one": one, "many": []})) is None


def test_the_longest_gap_counts_from_the_workers_start_to_where_it_was_given_up():
    looked = [(100.1, 0), (104.0, 10), (105.0, 30), (135.0, 30)]

    assert link.longest_gap(100.0, looked[:3]) == 4.0
    assert link.longest_gap(100.0, looked) == 30.0


def test_a_call_below_half_a_millisecond_does_not_decide_the_ratio():
    assert dead_rows.ratio(0.05, 0.4) == 1.0
    assert dead_rows.ratio(0.05, 1.5) == 3.0
    assert dead_rows.ratio(2.0, 3.0) == 1.5


# The page ---------------------------------------------------------------------------------------------------------


def test_a_section_replaces_what_was_between_its_markers_and_nothing_else():
    page = "above\n<!-- drain -->\nold\n<!-- /drain -->\nbelow\n"

    once = insert(page, "drain", "new \\1")
    twice = insert(once, "drain", "new \\1")

    assert once == "above\n<!-- drain -->\n\nnew \\1\n\n<!-- /drain -->\nbelow\n"
    assert twice == once


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(NoMarkers):
        insert("nothing", "drain", "text")


def test_the_page_has_a_place_for_every_measure():
    page = report.PAGE.read_text(encoding="utf-8")

    for name in ("machine", *(measure.NAME for measure in ALL)):
        insert(page, name, "text")


def test_a_table_says_what_was_skipped_and_why():
    rows = [Row("ours", "ours", figures={"rate": Spread(1.5, 1.0, 2.0, 2)})]
    rows.append(Row("peer", "Peer", skipped="node is not installed"))

    text = tables.table(rows, [tables.figure("jobs/s", "rate", 1)])

    assert "| ours | 1.5 (1.0 – 2.0) |" in text
    assert text.endswith("\n\nPeer: skipped (node is not installed).")


def test_a_target_is_met_or_missed_by_its_median():
    of = figure_of("ours", "rate")
    bounds = [at_least("fast", of, 0.8), at_most("slow", of, 5.0), at_least("unknown", of, 1.0)]

    text = tables.targets_table(bounds, {"fast": Spread(0.9, 0.1, 1.0, 3), "slow": Spread(9.0, 1.0, 9.0, 3)})

    assert [line.split(" | ")[-1].strip(" |") for line in text.splitlines()[2:]] == [
        "met",
        "**missed**",
        "not measured",
    ]


# The harness ------------------------------------------------------------------------------------------------------


def test_repetitions_are_interleaved_and_one_that_fails_is_not_taken_again(bench, tmp_path):
    taken = []

    def once(name, bench):
        taken.append(name)
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
    assert taken == ["a", "b", "a", "a"]
    assert kept == measured
    assert [row.figures for row in kept.rows] == [{"rate": Spread(1.0, 1.0, 1.0, 3)}, {}, {}]
    assert [(row.failed, row.skipped) for row in kept.rows[1:]] == [
        ("RuntimeError: it broke", None),
        (None, "there is no c"),
    ]
    assert kept.targets == {"fast": Spread(1.0, 1.0, 1.0, 3)}
    assert kept.command == "make bench ONLY=three REPETITIONS=3 SCALE=0.002"


@pytest.mark.parametrize("contender", [Haulier(threads=2, settings={"WORKER_METRICS_PORT": "0"}), Raw()], ids=str)
def test_a_drain_of_200_jobs_is_timed_until_the_last_one_is_settled(bench, contender):
    if contender.missing():
        pytest.skip(contender.missing())

    figures = drain.once(contender, bench)

    assert figures["jobs"] == 200
    assert figures["jobs"] / figures["jobs_per_second"] < 30


def test_the_bare_view_and_the_load_generator_store_a_job_for_each_answer(bench):
    with Haulier().home(bench.server) as url, bare(url) as port, closing(connect(url)) as conn:
        figures = load.post(port, "/jobs", BODY, connections=2, seconds=0.5, sender=load.OURS)

        stored = ask(conn, "SELECT count(*) FROM haulier.job")

    assert stored == round(figures["per_second"] * 0.5) > 0


def test_a_drain_of_200_queues_ends(bench):
    figures = queues.once(1000, bench)

    assert (figures["jobs"], figures["not_done"]) == (200, 0)


@pytest.mark.parametrize("entry", often(named(schedules.entries()), ["calm"]))
def test_schedules_fire_each_tick_once(bench, entry):
    figures = entry.once(bench)

    assert figures.get("lost", 0) == figures.get("amiss", 0) == 0
    assert figures.get("ticks", 100) >= 100


@pytest.mark.timeout(400)
@pytest.mark.parametrize("entry", often(named(refused_schedules.entries()), []))
def test_healthy_schedules_fire_beside_refused_ones(bench, entry):
    figures = entry.once(bench)

    assert (figures["missed"], figures["undecided"]) == (0, 0)
    assert figures["fired"] == figures["ticks"] > 90


@pytest.mark.usefixtures("own_kinds")
@pytest.mark.parametrize("kind", [pytest.param("noop", marks=pytest.mark.slow), "noop_isolated"])
def test_isolated_jobs_are_timed_beside_plain_ones(bench, kind, monkeypatch):
    # Imported anew in each test, since its kinds are forgotten after it.
    monkeypatch.delitem(sys.modules, "lab.bench.kinds", raising=False)

    figures = isolated.once(kind, 1, bench)

    assert figures["jobs"] == 200
    assert 0 < figures["jobs_per_second"] < 1_000_000
    assert (figures["child_mb"] is None) is (kind == "noop")
    assert kind == "noop" or figures["first_ms"] > figures["each_us"] / 1000


@pytest.mark.parametrize("entry", often(named(progress.entries()), ["telling"]))
def test_jobs_that_say_how_far_they_have_come_are_timed_beside_silent_ones(bench, entry):
    figures = entry.once(bench)

    assert figures["jobs"] == 200
    assert 0 < figures["jobs_per_second"] < 1_000_000


@pytest.mark.parametrize("entry", often(named(numbers.entries()), NUMBERS))
def test_counting_is_timed_beside_none_and_so_is_reading_what_was_counted(bench, entry):
    if entry.missing:
        pytest.skip(entry.missing)

    figures = entry.once(bench)

    assert figures
    assert all(value > 0 for value in figures.values())


def test_a_process_that_has_had_more_than_its_limit_is_killed():
    limit = bytes.Limit(60)
    program = "import sys; held = b'x' * 100_000_000; print('held', flush=True); sys.stdin.read()"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        limit.on(process.pid),
    ):
        until(lambda: process.poll() is not None, within=20, what="it is killed")

    assert process.returncode == -9
    assert limit.kills == 1
    assert limit.most > 60


@pytest.mark.parametrize(
    "name",
    [
        "haulier-nested",
        pytest.param("haulier-results", marks=pytest.mark.slow),
        pytest.param("haulier-errors", marks=pytest.mark.slow),
    ],
)
def test_jobs_of_each_mix_are_done_and_the_workers_memory_noted(bench, name):
    figures = bytes.once(bytes.MIXES[name][1], bench)

    assert (figures["jobs"], figures["not_done"], figures["kills"], figures["crashes"]) == (20, 0, 0, 0)
    assert 20 < figures["peak_mb"] < bytes.LIMIT_MB


def test_what_a_mix_holds_has_the_size_that_it_says(bench):
    with Haulier().home(bench.server) as url, closing(connect(url)) as conn:
        for _, mix in bytes.MIXES.values():
            mix.fill(url, 2)

        sizes = ask(conn, "SELECT array_agg(DISTINCT length(replace(payload::text, ', ', ','))) FROM haulier.job")
        errors = ask(conn, "SELECT array_agg(DISTINCT jsonb_array_length(errors)) FROM haulier.job")
        stored = ask(conn, "SELECT max(pg_column_size(payload)) FROM haulier.job")

    assert all(size < 40 or 250_000 <= size < 250_100 for size in sizes)
    assert errors == [0, 20]
    assert stored > 250_000


def test_a_link_takes_the_time_that_its_bytes_need_both_ways(bench):
    with Haulier().home(bench.server) as url, slow_link(url, 2_000_000) as slow, closing(connect(slow.url)) as conn:
        began = time.monotonic()
        ask(conn, "SELECT repeat('x', 1000000)")
        received = time.monotonic()
        ask(conn, "SELECT length(%s)", "x" * 1_000_000)
        sent = time.monotonic()

    assert 0.45 < received - began < 5
    assert 0.45 < sent - received < 5


def test_jobs_over_a_slow_link_are_done_and_their_progress_noted(bench):
    figures = link.once(heavy.ONE_LETTER, bench)

    assert (figures["jobs"], figures["not_done"], figures["run_again"]) == (20, 0, 0)
    # The first of 250 KB at 20 MB/s; how many come with it is the worker's choice.
    assert 0.01 < figures["first_done_after_s"] <= figures["longest_gap_s"] + 1


def test_every_call_is_timed_beside_dead_rows_and_a_cancel_of_a_running_job(bench):
    figures = dead_rows.once(bench)

    assert figures["dead_rows"] == 12_000
    assert all(figures[f"{name}_{side}"] > 0 for name in CALLS for side in ("none", "dead"))
    assert figures["greatest_ratio"] == max(figures[f"{name}_ratio"] for name in CALLS)
    assert 0 < figures["cancel_max_s_dead"] < 30
