"""What a measure has to reach, and the figure that decides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.bench.results import Repetitions, Spread

Measured = Callable[[Repetitions], Spread | None]


@dataclass(frozen=True)
class Target:
    """A bound of a figure's median. `relation` is "<=" or ">="; a label occurs once in a measure."""

    label: str
    measured: Measured
    relation: str
    bound: float

    def is_met(self, spread: Spread) -> bool:
        """Return whether this median keeps the bound."""
        return spread.median >= self.bound if self.relation == ">=" else spread.median <= self.bound


def at_least(label: str, measured: Measured, bound: float) -> Target:
    """Return a target that needs this bound or more."""
    return Target(label, measured, ">=", bound)


def at_most(label: str, measured: Measured, bound: float) -> Target:
    """Return a target that allows this bound or less."""
    return Target(label, measured, "<=", bound)


def figure_of(row: str, figure: str) -> Measured:
    """Return what measures one figure of a row."""
    return lambda repetitions: repetitions.spread(row, figure)


def ratio(figure: str, row: str, other: str) -> Measured:
    """Return what measures the ratio of one row's figure to another's."""
    return lambda repetitions: repetitions.ratio(figure, row, other)


def greatest(figure: str, *rows: str) -> Measured:
    """Return what measures the greatest median of a figure among these rows."""
    return lambda repetitions: repetitions.greatest(rows, figure)
