"""Draws docs/benchmarks.md: text between two markers is made from the results, the rest is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.bench import plots, results
from lab.bench.harness import Measure
from lab.bench.results import Result
from lab.bench.summary import LINES, summary
from lab.bench.tables import table, target_list
from lab.page import IMAGES, insert
from lab.waiting import ROOT

PAGE = ROOT / "docs/benchmarks.md"


def section(measure: Measure, result: Result) -> str:
    """Return the tables of a measure and of its targets, as Markdown."""
    tables = [table(each.rows(result), each.columns) for each in measure.TABLES]
    return "\n\n".join([*tables, *([target_list(measure.TARGETS, result.targets)] if measure.TARGETS else [])])


def draw(measures: Sequence[Measure], page: Path = PAGE) -> None:
    """Write every section that has results into the page."""
    text = page.read_text(encoding="utf-8")
    taken = {measure.NAME: result for measure in measures if (result := results.load(measure.NAME)) is not None}
    newest = max(taken.values(), key=lambda result: result.at, default=None)
    for measure in measures:
        if (result := taken.get(measure.NAME)) is not None:
            drawn = section(measure, result)
            if image := _plot(measure, result):
                drawn = f"![{result.title}](images/{image.name})\n\n{drawn}"
            text = insert(text, measure.NAME, f"{drawn}\n\n{_provenance(result, newest or result)}")
    if newest is not None:
        text = insert(text, "machine", _machine(newest))
    if {line.measure for line in LINES} <= taken.keys():
        text = insert(text, "summary", summary(taken))
    page.write_text(text, encoding="utf-8")


def _plot(measure: Measure, result: Result) -> Path | None:
    """Return the drawing; without matplotlib the one made earlier."""
    wanted: plots.Plot | None = getattr(measure, "PLOT", None)
    if wanted is None:
        return None
    path = IMAGES / f"bench-{measure.NAME}.svg"
    plots.bars(result, wanted, path)
    return path if path.exists() else None


def _provenance(result: Result, newest: Result) -> str:
    """Return repetitions, processor and day, and the server's version if it is not the one of the newest result."""
    repetitions, scale = result.options["repetitions"], float(result.options["scale"])
    small = "" if scale == 1 else f" **At {scale:g} of the full size: not for comparison.**"
    cpu = str(result.machine["cpu"]).replace("(R)", "").removesuffix(" Processor")
    version = result.server["version"]
    server = "" if version == newest.server["version"] else f", PostgreSQL {version}"
    many = f"{repetitions} repetitions" if repetitions > 1 else "1 repetition"
    return f"<sub>{many}, {cpu}{server}, {result.at.partition(' ')[0]}.{small}</sub>"


def _machine(result: Result) -> str:
    told, server = result.machine, result.server
    return "\n".join(
        [
            f"- {told['cores']} cores ({told['cpu']}), {told['memory_gb']} GB, {told['system']};"
            f" a synced write of 8 kB takes {told['fdatasync_ms']} ms",
            f"- Python {told['python']}, Node {told['node'] or 'absent'}, PostgreSQL {server['version']}",
            "- " + ", ".join(f"`{name}={value}`" for name, value in server.items() if name != "version"),
        ]
    )
