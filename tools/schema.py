"""Build schema.sql from the files of haulier/schema: `make schema`. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS, BUILT = ROOT / "haulier" / "schema", ROOT / "schema.sql"
HEAD = "-- Built from haulier/schema by `make schema`: change the files there, not this one.\n\n"


def main() -> None:
    """Write schema.sql."""
    BUILT.write_text(build(), encoding="utf-8")


def build() -> str:
    """Return the text of schema.sql: one file that psql applies from any folder, and that migrate reads."""
    return HEAD + "\n\n".join(path.read_text(encoding="utf-8") for path in parts())


def parts() -> Iterator[Path]:
    """Yield the files in the order in which they are applied.

    First the nouns, in the order in which running programs lock their tables; then the functions that grant rights,
    which may use any table; last what marks the schema as complete.
    """
    nouns = sorted(PARTS.glob("*.sql"))
    yield from nouns[:-1]
    yield from sorted(PARTS.glob("rights/*.sql"))
    yield nouns[-1]


if __name__ == "__main__":
    main()
