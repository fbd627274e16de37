"""Bars of medians, as SVG, each with a line from the minimum to the maximum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import plots
from lab.bench.results import Result

OURS, RAW, THEIRS = "#1f6f8b", "#8a8a8a", "#c9a227"


@dataclass(frozen=True)
class Plot:
    """The figure of a measure to draw, and the label of its axis."""

    figure: str
    axis: str
    logarithmic: bool = False


def bars(result: Result, plot: Plot, path: Path) -> None:
    """Draw one bar for each row that has the figure; nothing without matplotlib."""
    if (pyplot := plots.pyplot(font_size=9)) is None:
        return
    rows = [(row, spread) for row in reversed(result.rows) if (spread := row.figures.get(plot.figure)) is not None]
    if not rows:
        return
    drawing, axes = pyplot.subplots(figsize=(7.2, 0.6 + 0.3 * len(rows)))
    for place, (row, spread) in enumerate(rows):
        axes.barh(place, spread.median, color=_colour(row.name), height=0.62)
        if spread.repetitions > 1:
            axes.plot([spread.minimum, spread.maximum], [place, place], "|-", color="#222222", linewidth=1)
        text = f" {spread.median:,.0f}" if spread.median >= 100 else f" {spread.median:,.3g}"
        axes.annotate(text, (spread.maximum, place), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row.label for row, _ in rows])
    axes.set_xlabel(plot.axis)
    if plot.logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    plots.save(pyplot, drawing, path)


def _colour(name: str) -> str:
    if name.startswith("haulier"):
        return OURS
    return RAW if name.startswith("raw") else THEIRS
