"""The steps to this program's schema: schema.sql in an empty database, migrations/ from each older version."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """What `migrate` does in one transaction.

    Args:
        version: What the last step with this number sets.
        locks: Each existing table that is locked, or `partitions of` it, with the mode of the lock and how long it is
            held.
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


class Schema:
    """The schema that a program needs: the file that builds it, and the folder of the steps from older versions."""

    def __init__(self, version: int, file: Path, migrations: Path) -> None:
        self.version = version
        self.file = file
        self.migrations = migrations

    @cached_property
    def text(self) -> str:
        """The statements that build it in an empty database."""
        return self.file.read_text(encoding="utf-8")

    @cached_property
    def fingerprint(self) -> str:
        """The version and a hash of these statements, which stays the same when only comments or spaces change."""
        statements = " ".join(re.sub(r"--.*", "", self.text).split())
        return f"{self.version} {hashlib.sha256(statements.encode()).hexdigest()[:16]}"

    def steps_from(self, version: int | None) -> list[Step]:
        """Return the steps from this version to the program's own, in order. None is an empty database."""
        if version is None:
            return [Step(self.file.name, self.version, "Builds all of it.", {}, self.text)]
        return [step for step in map(_read, sorted(self.migrations.glob("*.sql"))) if step.version > version]


# In a checkout schema.sql is a link to the file at the root, in a wheel it is the file itself.
SCHEMA = Schema(1, Path(__file__).parents[2] / "schema.sql", Path(__file__).parent / "migrations")


def _read(path: Path) -> Step:
    """Read a file of migrations/, which begins with `-- does: …` and, for each table, `-- locks TABLE: MODE, …`."""
    text = path.read_text(encoding="utf-8")
    head = re.sub(r"\n--  +", " ", text.partition("\n\n")[0])
    [does] = re.findall(r"^-- does: (.+)$", head, re.MULTILINE)
    locks = dict(re.findall(r"^-- locks ([\w ]+): (.+)$", head, re.MULTILINE))
    return Step(path.name, int(path.name[:3]), does, locks, text)
