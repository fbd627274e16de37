"""What `migrate` would do: each step, what it locks, and the history's partitions."""

from __future__ import annotations

from collections.abc import Iterator

from haulier.postgres.statements import Connection, rows
from haulier.queue.upkeep.migrate import check_schema, stored_version
from haulier.queue.upkeep.partitions import DAYS_AHEAD, step
from haulier.queue.upkeep.steps import SCHEMA_VERSION, Step, steps_from


def plan(conn: Connection, *, retention_days: int) -> str:
    """Return, line by line, what `migrate` would do now; nothing is changed, and nobody has to wait.

    Raises: SchemaMismatch when the schema is too new.
    """
    found = stored_version(conn)
    steps = steps_from(found)
    if not steps:
        check_schema(conn)
    partitions = _partitions(conn, retention_days)
    lines = [
        f"found schema version {found}; this program has {SCHEMA_VERSION}" if found else "found no Haulier schema",
        *(line for each in steps for line in _described(each)),
        *(f"would make the history partition {name}" for name in partitions),
    ]
    return "\n".join(lines if steps or partitions else [*lines, "nothing to do"])


def _described(step: Step) -> Iterator[str]:
    yield f"would run {step.name}: {step.does}"
    for table, how in step.locks.items():
        yield f"    locks {table}: {how}"
    if not step.locks:
        yield "    locks no table that is there"


def _partitions(conn: Connection, retention_days: int) -> list[str]:
    found = rows(conn, "partitions_to_make", step=step(retention_days), days_ahead=DAYS_AHEAD)
    return [str(row["name"]) for row in found]
