"""The statements of queries.sql, by name; a name that is not there fails at import."""

from __future__ import annotations

import re
from pathlib import Path

_FILE = Path(__file__).with_name("queries.sql")


def load(text: str) -> dict[str, str]:
    """Return the statements of such a file, without their comments. Shape: name to SQL."""
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    statements = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        # A comment may hold a percent sign or a brace, which psycopg2 would take for a parameter.
        statements[name] = re.sub(r"^\s*--.*\n?|\s+-- .*$", "", body, flags=re.MULTILINE).strip()
    return statements


SQL = load(_FILE.read_text(encoding="utf-8"))
