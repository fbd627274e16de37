"""The statements of the .sql files beside the modules, by name; a name that is used twice fails at import."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

# Without schema.sql, grants.sql and the migrations, which are run as whole files.
FOLDERS = [Path(__file__).parent, *(Path(__file__).parents[1] / name for name in ("queue", "cells"))]
FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.sql")) if path.parent.name != "migrations"]


def load(texts: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the statements of such files, with their parts filled in, and the parts; both without their comments.

    A statement begins with `-- name: …`. A part, which several statements share or which reads better under its
    own name, begins with `-- part: …`, and replaces `<<…>>` in a statement or another part.

    Each is name to SQL.
    Raises: ValueError for a name that is used twice; KeyError for a part that does not exist.
    """
    found: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for text in texts:
        pieces = re.split(r"^-- (name|part): (\w+)$", text, flags=re.MULTILINE)[1:]
        for sort, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            if name in found[sort]:
                raise ValueError(f"{name} stands twice in the .sql files")
            # A comment may hold a percent sign or a brace, which psycopg2 would take for a parameter.
            found[sort][name] = re.sub(r"^\s*--.*\n?|\s+-- .*$", "", body, flags=re.MULTILINE).strip()
    statements, parts = found["name"], found["part"]
    return {name: filled(text, parts) for name, text in statements.items()}, parts


def filled(text: str, parts: Mapping[str, str]) -> str:
    """Return the text with each `<<part>>` replaced. Raises: KeyError for a part that does not exist."""
    return re.sub(r"<<(\w+)>>", lambda place: filled(parts[place[1]], parts), text)


SQL, PARTS = load(path.read_text(encoding="utf-8") for path in FILES)


def columns_of(part: str) -> tuple[str, ...]:
    """Return the names of a part that is a list of columns, in its order."""
    return tuple(name.strip() for name in filled(PARTS[part], PARTS).split(","))
