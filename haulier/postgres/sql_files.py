"""The statements of the .sql files beside the modules, by name; a name that is used twice fails at import."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Without schema.sql, grants.sql and the migrations, which are run as whole files.
FOLDERS = [Path(__file__).parent, Path(__file__).parents[1] / "queue"]
FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.sql")) if path.parent.name != "migrations"]


def load(texts: Iterable[str]) -> dict[str, str]:
    """Return the statements of such files, without their comments and with their parts filled in. Shape: name to SQL.

    A statement begins with `-- name: …`. A part, which several statements share or which reads better under a name of
    its own, begins with `-- part: …`, and replaces `<<…>>` in a statement.

    Raises: ValueError for a name that is used twice; KeyError for a part that does not exist.
    """
    texts = list(texts)
    parts = read("part", texts)
    return {
        name: re.sub(r"<<(\w+)>>", lambda place: parts[place[1]], statement)
        for name, statement in read("name", texts).items()
    }


def read(sort: str, texts: Iterable[str]) -> dict[str, str]:
    """Return what such files have of a sort, "name" or "part", by name and without comments. Raises: ValueError."""
    found: dict[str, str] = {}
    for text in texts:
        pieces = re.split(r"^-- (name|part): (\w+)$", text, flags=re.MULTILINE)[1:]
        for of, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            if of != sort:
                continue
            if name in found:
                raise ValueError(f"{name} stands twice in the .sql files")
            # A comment may hold a percent sign or a brace, which psycopg2 would take for a parameter.
            found[name] = re.sub(r"^\s*--.*\n?|\s+-- .*$", "", body, flags=re.MULTILINE).strip()
    return found


_TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
SQL, PARTS = load(_TEXTS), read("part", _TEXTS)
