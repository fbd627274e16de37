"""Draw as SVG what a soak's processes and tables hold over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import plots

PANELS = (
    ("memory, MB", "_rss_bytes", 1e6),
    ("open files", "_files", 1),
    ("threads", "_threads", 1),
    ("connections", "connections", 1),
    ("dead rows of job", "dead_rows", 1),
    ("job: table and indexes, MB", ("table_bytes", "index_bytes"), 1e6),
)
COLOURS = ("#1f6f8b", "#c9a227", "#8a8a8a")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each resource; nothing without matplotlib."""
    if (pyplot := plots.pyplot(font_size=8)) is None:
        return
    series = result["each_minute"]
    drawing, panels = pyplot.subplots(3, 2, figsize=(7.2, 6.4), sharex=True)
    for axes, (title, ends, unit) in zip(panels.flat, PANELS, strict=True):
        names = [name for name in series if name.endswith(ends)]
        for name, colour in zip(names, COLOURS, strict=False):
            values = [value / unit for value in series[name]]
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1, label=name.split("_")[0])
        axes.set_title(title, fontsize=8, loc="left")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=7, loc="best")
    for axes in panels[-1]:
        axes.set_xlabel("minutes")
    drawing.tight_layout()
    plots.save(pyplot, drawing, path)
