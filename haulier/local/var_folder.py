"""The folder var/ of a checkout or a team's repository, which holds local data and a secret."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def make_var(root: Path) -> Path:
    """Return the folder var/ in `root`, created if it is missing. Git ignores everything in it."""
    folder = root / "var"
    folder.mkdir(parents=True, exist_ok=True)
    # The repository's own .gitignore may not mention var/. A .gitignore that is already in var/ stays as it is.
    with suppress(FileExistsError), (folder / ".gitignore").open("x", encoding="utf-8") as file:
        file.write("*\n")
    return folder
