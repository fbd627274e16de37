"""The steps to this program's schema: schema.sql in an empty database, migrations/ from each older version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

# In a checkout this is a link to schema.sql at the root, in a wheel the file itself.
SCHEMA_FILE = Path(__file__).parents[2] / "schema.sql"
MIGRATIONS = Path(__file__).parent / "migrations"
# The version of schema.sql, to which the last migration leads: the one that this program is written for.
SCHEMA_VERSION = max(int(path.name[:3]) for path in MIGRATIONS.glob("*.sql"))


class Step(NamedTuple):
    """What `migrate` does in one transaction.

    Shape: version is what the last step with this number sets; locks maps each existing table that is locked, or
           `partitions of` it, to the lock's mode and how long it is held.
    """

    name: str
    version: int
    does: str
    locks: dict[str, str]
    text: str

    @property
    def tables(self) -> list[str]:
        """Return the tables that are locked."""
        return [name.removeprefix("partitions of ") for name in self.locks]


def steps_from(version: int | None) -> list[Step]:
    """Return the steps from this version to the program's own, in their order; None is an empty database."""
    if version is None:
        text = SCHEMA_FILE.read_text(encoding="utf-8")
        return [Step(SCHEMA_FILE.name, SCHEMA_VERSION, "Builds all of it.", {}, text)]
    return [step for step in map(_read, sorted(MIGRATIONS.glob("*.sql"))) if step.version > version]


def _read(path: Path) -> Step:
    """Read a file of migrations/, which begins with `-- does: …` and, for each table, `-- locks TABLE: MODE, …`."""
    text = path.read_text(encoding="utf-8")
    head = re.sub(r"\n--  +", " ", text.partition("\n\n")[0])
    [does] = re.findall(r"^-- does: (.+)$", head, re.MULTILINE)
    locks = dict(re.findall(r"^-- locks ([\w ]+): (.+)$", head, re.MULTILINE))
    return Step(path.name, int(path.name[:3]), does, locks, text)
