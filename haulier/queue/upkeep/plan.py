"""What `migrate` would do: each step, what it locks, and the history's partitions."""

from __future__ import annotations

from collections.abc import Iterator

from haulier.postgres.statements import Connection, rows
from haulier.queue.upkeep.migrate import check_schema, stored_version
from haulier.queue.upkeep.partitions import DAYS_AHEAD, step
from haulier.queue.upkeep.steps import SCHEMA, Schema, Step


def plan(conn: Connection, *, retention_days: int, schema: Schema = SCHEMA) -> str:
    """Return, line by line, what `migrate` would do now; nothing is changed, and nobody has to wait.

    Raises:
        SchemaMismatch: `migrate` would refuse this schema.
    """
    version = stored_version(conn)
    steps = schema.steps_from(version)
    if not steps:
        check_schema(conn, schema)
    partitions = _partitions(conn, retention_days)
    lines = [
        f"found schema version {version}; this program has {schema.version}" if version else "found no Haulier schema",
        *(line for step in steps for line in _described(step)),
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
