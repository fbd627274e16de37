"""Draws docs/benchmarks.md: text between two markers is made from the results, the rest is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.bench import plots, results
from lab.bench.harness import Measure
from lab.bench.results import Result, Row, Spread
from lab.page import IMAGES, insert
from lab.waiting import ROOT

PAGE = ROOT / "docs/benchmarks.md"


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and its cell for a row."""

    heading: str
    cell: Callable[[Row], str]


def figure(heading: str, name: str, digits: int = 0) -> Column:
    """Return a column with the median of a figure, and its spread."""
    return Column(heading, lambda row: spread_text(row.spread(name), digits))


def spread_text(spread: Spread | None, digits: int = 0) -> str:
    """Return "median (least – most)"."""
    if spread is None:
        return "–"
    median, least, most = (f"{value:,.{digits}f}" for value in spread[:3])
    return median if spread.repetitions == 1 or least == most else f"{median} ({least} – {most})"


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Return a Markdown table, with a line below it for each row that has no figures, saying why."""
    lines = [
        "| | " + " | ".join(column.heading for column in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        if row.repetitions:
            lines.append(f"| {_named(row)} | " + " | ".join(column.cell(row) for column in columns) + " |")
    absent = [
        f"{row.label}: {'failed' if row.failed else 'skipped'} ({row.failed or row.skipped})."
        for row in rows
        if row.failed or row.skipped
    ]
    return "\n".join([*lines, *([""] if absent else []), *absent])


def _named(row: Row) -> str:
    """Return the label with a peer's version behind its name."""
    if not row.version or row.name.startswith(("haulier", "raw")):
        return row.label
    name, comma, rest = row.label.partition(",")
    return f"{name} {row.version}{comma}{rest}"


def targets(lines: Sequence[tuple[str, Spread | None, str, float]]) -> str:
    """Return a table of the targets. Shape: each is (label, ratio or figure, ">=" or "<=", bound)."""
    written = ["| target | measured | |", "|---|---:|---|"]
    for what, spread, relation, bound in lines:
        if spread is None:
            verdict = "not measured"
        else:
            met = spread.median >= bound if relation == ">=" else spread.median <= bound
            verdict = "met" if met else "**missed**"
        sign = {">=": "≥", "<=": "≤"}[relation]
        written.append(f"| {what} {sign} {bound:g} | {spread_text(spread, 2)} | {verdict} |")
    return "\n".join(written)


def draw(measures: Sequence[Measure], page: Path = PAGE) -> None:
    """Write every section that has results into the page."""
    text = page.read_text(encoding="utf-8")
    newest: Result | None = None
    for measure in measures:
        if (result := results.load(measure.NAME)) is not None:
            section = measure.report(result)
            if image := _plot(measure, result):
                section = f"![{result.title}](images/{image.name})\n\n{section}"
            text = insert(text, measure.NAME, f"{section}\n\n{_provenance(result)}")
            newest = max(newest or result, result, key=lambda each: each.at)
    if newest is not None:
        text = insert(text, "machine", _machine(newest))
    for folder in sorted(each for each in results.FOLDER.iterdir() if each.is_dir()):
        text = insert(text, folder.name, _elsewhere(measures, folder))
    page.write_text(text, encoding="utf-8")


def _elsewhere(measures: Sequence[Measure], folder: Path) -> str:
    """Return the results on another server, without drawings."""
    found = ((measure, results.load(measure.NAME, folder)) for measure in measures)
    return "\n\n".join(
        f"**{result.title}**\n\n{measure.report(result)}\n\n{_provenance(result)}"
        for measure, result in found
        if result is not None
    )


def _plot(measure: Measure, result: Result) -> Path | None:
    """Return the drawing; without matplotlib the one made earlier."""
    wanted: plots.Plot | None = getattr(measure, "PLOT", None)
    if wanted is None:
        return None
    path = IMAGES / f"bench-{measure.NAME}.svg"
    plots.bars(result, wanted, path)
    return path if path.exists() else None


def _provenance(result: Result) -> str:
    repetitions, scale = result.options["repetitions"], float(result.options["scale"])
    small = "" if scale == 1 else f" **At {scale:g} of the full size: not for comparison.**"
    server = f"PostgreSQL {result.server['version']}"
    return (
        f"<sub>Medians of up to {repetitions} repetitions, with the least and the greatest in brackets; {server};"
        f" {result.machine['cpu']}; {result.at}.{small}</sub>"
    )


def _machine(result: Result) -> str:
    told, server = result.machine, result.server
    return "\n".join(
        [
            f"- {told['cores']} cores ({told['cpu']}), {told['memory_gb']} GB, {told['system']};"
            f" writing 8 kB through to the disk takes {told['fdatasync_ms']} ms",
            f"- Python {told['python']}, Node {told['node'] or 'absent'}, PostgreSQL {server['version']}",
            "- " + ", ".join(f"`{name}={value}`" for name, value in server.items() if name != "version"),
        ]
    )
