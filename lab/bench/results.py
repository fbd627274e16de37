"""The results of measures, and their files: lab/bench/results/<measure>.json holds every repetition."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "results"


# A number, None where there is none; or lists and mappings of numbers that a measure draws by itself.
Figure = float | Sequence[float] | Mapping[str, float | Sequence[float]] | None
# The figures of one repetition, by name.
Figures = Mapping[str, Figure]


class Spread(NamedTuple):
    """The median of some repetitions, with the least and the greatest."""

    median: float
    least: float
    most: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of these values, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass
class Row:
    """One entry of a measure with all its repetitions."""

    name: str
    label: str
    version: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    skipped: str | None = None
    failed: str | None = None
    repetitions: list[Figures] = field(default_factory=list)

    def numbers(self, figure: str) -> list[float]:
        """Return one figure of each repetition that has it."""
        found = [number(each, figure) for each in self.repetitions]
        return [each for each in found if each is not None]

    def spread(self, figure: str) -> Spread | None:
        """Return the spread of one figure, None when it was not measured."""
        values = self.numbers(figure)
        return Spread.of(values) if values else None


@dataclass
class Result:
    """The result of taking one measure once, with all repetitions."""

    measure: str
    title: str
    at: str
    machine: dict[str, object]
    server: dict[str, str]
    options: dict[str, float]
    rows: list[Row]

    def row(self, name: str) -> Row | None:
        """Return the row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, figure: str, name: str, other: str) -> Spread | None:
        """Return the ratio of one row's figure to another's.

        It is taken repetition by repetition, since repetitions of the same number ran right after each other.
        """
        ours, theirs = self.row(name), self.row(other)
        if ours is None or theirs is None:
            return None
        pairs = [
            (number(mine, figure), number(other_one, figure))
            for mine, other_one in zip(ours.repetitions, theirs.repetitions, strict=False)
        ]
        ratios = [mine / other_one for mine, other_one in pairs if mine is not None and other_one]
        return Spread.of(ratios) if ratios else None

    def save(self, folder: Path = FOLDER) -> Path:
        """Write the result to its file and return the file's path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.measure}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def number(figures: Figures, name: str) -> float | None:
    """Return a figure that is a number, None when it was not measured. Raises: TypeError when it is not a number."""
    found = figures.get(name)
    if found is None:
        return None
    if not isinstance(found, (int, float)):
        raise TypeError(f"{name} is no number")
    return float(found)


def load(measure: str, folder: Path = FOLDER) -> Result | None:
    """Return the saved result of a measure, None where there is none."""
    path = folder / f"{measure}.json"
    if not path.exists():
        return None
    read = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**read, "rows": [Row(**row) for row in read["rows"]]})
