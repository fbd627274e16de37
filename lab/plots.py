"""Shared by all drawings: SVG by matplotlib if it is installed; the same figures give the same file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


def pyplot(*, font_size: int) -> ModuleType | None:
    """Return matplotlib's pyplot, set up for a page of docs/; None without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("svg")
        import matplotlib.pyplot
    except ImportError:
        return None
    # A fixed salt, so that the same figures give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "haulier", "font.size": font_size, "svg.fonttype": "none"})
    found: ModuleType = matplotlib.pyplot
    return found


def save(pyplot: ModuleType, drawing: Any, path: Path) -> None:
    """Write the drawing, one of pyplot's, to its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(drawing)
