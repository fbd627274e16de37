"""Pages of docs/ that are drawn in part: text between two markers is generated, the rest is written by hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lab.waiting import ROOT

IMAGES = ROOT / "docs/images"


class NoMarkers(ValueError):
    """The page has no markers for a section."""


def insert(page: str, name: str, text: str) -> str:
    """Return the page with the text between the markers of that name. Raises: NoMarkers."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(page):
        raise NoMarkers(f"the page has no <!-- {name} --> … <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page, count=1)


def write(path: Path, text: str) -> None:
    """Replace a file at once: runs of several seeds draw the same page, and must not read half of it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
