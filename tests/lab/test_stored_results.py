"""The published results of benchmarks and chaos: what their files hold, and that the pages show it. It ..."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.bench import report, results
from lab.bench.measures import ALL
from lab.bench.summary import summary
from lab.chaos import report as chaos_report


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Return all results of a folder by the names of their files."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))}


def lists(value: object) -> list[list[object]]:
    """Return all lists within a value of JSON."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [*([value] if isinstance(value, list) else []), *(each for part in inner for each in lists(part))]


BENCH, CHAOS = stored(results.FOLDER), stored(chaos_report.RESULTS)


def test_keeps_medians_of_a_measure_and_no_list_of_repetitions():
    assert BENCH.keys() == {measure.NAME for measure in ALL}
    assert [name for name, result in BENCH.items() if lists(result) != [result["rows"]]] == []


def test_keeps_of_chaos_no_list_but_one_point_a_minute_of_the_soak():
    soak = CHAOS["soak"]

    assert all(len(series) == soak["minutes"] for series in soak["each_minute"].values())
    assert lists(soak) == list(soak["each_minute"].values())
    assert [name for name, result in CHAOS.items() if name != "soak" and lists(result)] == []


def test_says_on_which_machine_from_which_commit_and_how_it_was_measured():
    results = {**BENCH, **CHAOS}

    assert [
        name for name, result in results.items() if not {"cpu", "cores", "python"} <= result["machine"].keys()
    ] == []
    assert [name for name, result in results.items() if not result["commit"]] == []
    how = ("make bench ONLY=", "python -m lab.chaos ")
    assert [name for name, result in results.items() if not result["command"].startswith(how)] == []


def test_has_a_figure_for_every_target_of_a_measure():
    lacking = {
        measure.NAME: {each.label for each in measure.TARGETS} ^ BENCH[measure.NAME]["targets"].keys()
        for measure in ALL
    }

    assert {name: labels for name, labels in lacking.items() if labels} == {}


def test_shows_the_stored_results_on_the_page_of_benchmarks():
    page = report.PAGE.read_text(encoding="utf-8")

    sections = {measure.NAME: report.section(measure, results.load(measure.NAME)) for measure in ALL}

    assert [name for name, section in sections.items() if section not in page] == []
    assert summary({name: results.load(name) for name in sections}) in page


def test_shows_the_stored_results_on_the_page_of_reliability():
    page = chaos_report.PAGE.read_text(encoding="utf-8")
    runs = [result for name, result in CHAOS.items() if name.startswith("seed-")]

    drawn = [chaos_report.summary(runs), chaos_report.promise_list(runs), chaos_report.runs_table(runs)]
    drawn += [chaos_report.faults_table(runs), chaos_report.starts_table(runs)]
    drawn += [chaos_report.soak_table(CHAOS[name]) for name in ("soak", "one-dyno")]
    drawn += [chaos_report.hosts_table(CHAOS["hosts"])]

    assert [section for section in drawn if section not in page] == []
