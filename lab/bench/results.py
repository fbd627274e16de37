"""The results of measures, and their files: lab/bench/results/<measure>.json holds medians, no single repetitions."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import result_files

FOLDER = Path(__file__).parent / "results"

# The figures of one repetition, by name; None if this repetition has no such figure.
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Spread:
    """The median, the minimum and the maximum of some repetitions."""

    median: float
    minimum: float
    maximum: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of these values, of which there is at least one."""
        median, minimum, maximum = (round(each, 4) for each in (statistics.median(values), min(values), max(values)))
        return cls(median, minimum, maximum, len(values))


@dataclass
class Repetitions:
    """All repetitions of a measure while it is taken. `taken` has the figures of each repetition, by row."""

    taken: dict[str, list[Figures]]

    def numbers(self, row: str, figure: str) -> list[float]:
        """Return one figure of each repetition of a row that has it."""
        return [value for each in self.taken.get(row, []) if (value := each.get(figure)) is not None]

    def spread(self, row: str, figure: str) -> Spread | None:
        """Return the spread of one figure of a row, None if it was not measured."""
        values = self.numbers(row, figure)
        return Spread.of(values) if values else None

    def spreads(self, row: str) -> dict[str, Spread]:
        """Return the spread of each figure of a row."""
        names = dict.fromkeys(name for each in self.taken.get(row, []) for name in each)
        return {name: spread for name in names if (spread := self.spread(row, name)) is not None}

    def greatest(self, rows: Iterable[str], figure: str) -> Spread | None:
        """Return the spread of the row with the greatest median."""
        spreads = [spread for row in rows if (spread := self.spread(row, figure)) is not None]
        return max(spreads, key=lambda spread: spread.median, default=None)

    def ratio(self, figure: str, row: str, other: str) -> Spread | None:
        """Return the ratio of one row's figure to another's.

        It is taken repetition by repetition, because repetitions of the same number ran right after each other.
        """
        pairs = zip(self.taken.get(row, []), self.taken.get(other, []), strict=False)
        values = [(mine.get(figure), theirs.get(figure)) for mine, theirs in pairs]
        ratios = [mine / theirs for mine, theirs in values if mine is not None and theirs]
        return Spread.of(ratios) if ratios else None


@dataclass
class Row:
    """One row of a measure: what was measured, with which version and settings, and the spread of each figure."""

    name: str
    label: str
    version: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    skipped: str | None = None
    failed: str | None = None
    figures: dict[str, Spread] = field(default_factory=dict)


@dataclass
class Result:
    """The result of taking one measure once. `targets` has the spread that each target is compared with."""

    measure: str
    title: str
    at: str
    commit: str | None
    command: str
    machine: dict[str, object]
    server: dict[str, str]
    options: dict[str, float]
    rows: list[Row]
    targets: dict[str, Spread] = field(default_factory=dict)

    def save(self, folder: Path = FOLDER) -> Path:
        """Write the result to its file and return the file's path."""
        stored = {**asdict(self), "targets": _stored(self.targets)}
        rows = [{**asdict(row), "figures": _stored(row.figures)} for row in self.rows]
        stored["rows"] = [{name: value for name, value in row.items() if value} for row in rows]
        return result_files.save(folder / f"{self.measure}.json", stored)


def load(measure: str, folder: Path = FOLDER) -> Result | None:
    """Return the saved result of a measure, None if there is none."""
    path = folder / f"{measure}.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "figures": _spreads(row.get("figures", {}))}) for row in stored["rows"]]
    return Result(**{**stored, "rows": rows, "targets": _spreads(stored["targets"])})


def _stored(spreads: Mapping[str, Spread]) -> dict[str, object]:
    """Return the spreads for the file; a figure that was measured once is a number."""
    return {name: each.median if each.repetitions == 1 else asdict(each) for name, each in spreads.items()}


def _spreads(stored: Mapping[str, Any]) -> dict[str, Spread]:
    return {name: Spread(**value) if isinstance(value, dict) else Spread.of([value]) for name, value in stored.items()}
