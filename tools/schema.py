"""Build schema.sql and grants.sql from the files of haulier/schema: `make schema`. A test compares them."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from haulier.postgres.sql_files import filled, load  # noqa: E402

PARTS = ROOT / "haulier" / "schema"
# What both are filled with: the columns of a job.
COLUMNS = ROOT / "haulier" / "queue" / "columns.sql"
LONGEST_LINE = 120
HEAD = "-- Built from haulier/schema by `make schema`: change the files there, not this one.\n\n"


def main() -> None:
    """Write both files."""
    for name, text in built().items():
        (ROOT / name).write_text(text, encoding="utf-8")


def built() -> dict[str, str]:
    """Return the texts, by name: files that psql applies from any folder, of which migrate reads the first."""
    return {"schema.sql": build(), "grants.sql": _text_of([PARTS / "grants.sql"])}


def build() -> str:
    """Return the text of schema.sql."""
    return _text_of(parts())


def _text_of(paths: Iterable[Path]) -> str:
    _, columns = load([COLUMNS.read_text(encoding="utf-8")])
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in paths)
    return HEAD + re.sub(r"^( *)(.*<<.*)$", lambda line: _wrapped(line[1], filled(line[2], columns)), text, flags=re.M)


def _wrapped(indent: str, text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        LONGEST_LINE,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def parts() -> Iterator[Path]:
    """Yield the files of schema.sql in the order in which they are applied.

    First the nouns, in the order in which running programs lock their tables; then the functions that grant rights,
    which may use any table; last what marks the schema as complete.
    """
    nouns = sorted(PARTS.glob("[0-9]*.sql"))
    yield from nouns[:-1]
    yield from sorted(PARTS.glob("rights/*.sql"))
    yield nouns[-1]


if __name__ == "__main__":
    main()
