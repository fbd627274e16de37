"""The Markdown tables of docs/benchmarks.md: rows with their spreads, and targets with their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lab.bench.results import Result, Row, Spread
from lab.bench.targets import Target


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and its cell for a row."""

    heading: str
    cell: Callable[[Row], str]


class PageTable:
    """One table of a measure's section. `rows` picks the rows of a result, all of them by default."""

    def __init__(self, *columns: Column, rows: Callable[[Result], Sequence[Row]] = lambda result: result.rows) -> None:
        self.columns, self.rows = columns, rows


def figure(heading: str, name: str, digits: int = 0) -> Column:
    """Return a column with the median of a figure, and its spread."""
    return Column(heading, lambda row: spread_text(row.figures.get(name), digits))


def spread_text(spread: Spread | None, digits: int = 0) -> str:
    """Return "median (minimum–maximum)"."""
    if spread is None:
        return "–"
    values = (spread.median, spread.minimum, spread.maximum)
    median, minimum, maximum = (f"{value:,.{digits}f}" for value in values)
    return median if spread.repetitions == 1 or minimum == maximum else f"{median} ({minimum}–{maximum})"


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Return a Markdown table, with a line below it for each row that has no figures, saying why."""
    lines = [
        "| | " + " | ".join(column.heading for column in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        if row.figures:
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


def target_list(targets: Sequence[Target], spreads: Mapping[str, Spread]) -> str:
    """Return a list of the targets. `spreads` has what was measured, by the targets' labels."""
    lines = ["Targets:", ""]
    for target in targets:
        spread = spreads.get(target.label)
        sign = {">=": "≥", "<=": "≤"}[target.relation]
        measured = f"{spread_text(spread, 2)}, " if spread else ""
        lines.append(f"- {target.label} {sign} {target.bound:g}: {measured}{_verdict(target, spread)}")
    return "\n".join(lines)


def _verdict(target: Target, spread: Spread | None) -> str:
    if spread is None:
        return "not measured"
    return "met" if target.is_met(spread) else "**missed**"
