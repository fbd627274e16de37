"""All cells of CELLS_FILE: whether each is up, its due jobs, its failures and its version."""

from __future__ import annotations

from pathlib import Path

from haulier.cells.ask import CellReport, ask_cells
from haulier.cells.cells_toml import read_cells
from haulier.domain.api_key import Scope
from haulier.domain.errors import ConfigError

from ...http.service import service
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.permissions import unless
from ..kit.reading import Part, kept
from ..kit.section import Section

WHY = "the page of all cells covers every queue"
KEPT_SECONDS = 5.0

section = Section("cells", __name__, MenuEntry("System", 30, "Cells", "cells"))


def _without_file() -> str | None:
    return None if service().config.cells_file else "CELLS_FILE names no file of cells"


@section.page("/cells", Scope.OPERATE, every=5, every_queue=WHY)
@unless(_without_file)
def show() -> Page:
    """Return the cells, at most 5 s old."""
    return Page("cells.html", "Cells", found=kept("cells", (), _asked, seconds=KEPT_SECONDS))


def _asked() -> Part[list[CellReport]]:
    """Return the report of each cell. The file is read each time, so a change of it needs no restart."""
    config = service().config
    try:
        file = read_cells(Path(str(config.cells_file)))
    except ConfigError as error:
        return Part(None, f"CELLS_FILE: {error}")
    return Part(ask_cells(file, config.haulier_api_key))
