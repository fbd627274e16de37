"""What the suite's triggers (witness.sql) saw of what operators do: each write of such a job, by which transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.servers import Connection

WRITTEN = """
    SELECT tx::text::bigint, what, job ->> 'id', job ->> 'copy_of', job ->> 'status', job ->> 'queue',
        (job ->> 'priority')::integer, (job #>> '{payload,mark}')::integer, job #>> '{tags,0}'
    FROM chaos.written
    ORDER BY place
"""
OPERATIONS = """
    SELECT operation.id::text, action, filter, status, matched, done, skipped, failed, error,
        pg_snapshot_xmin(seen)::text::bigint, pg_snapshot_xmax(seen)::text::bigint,
        ARRAY(SELECT each::text::bigint FROM pg_snapshot_xip(seen) AS each),
        ARRAY(SELECT tx::text::bigint FROM chaos.chunk WHERE operation_id = operation.id)
    FROM haulier.operation
    JOIN chaos.preview USING (as_of)
"""
RECORDED = """
    SELECT tx::text::bigint, action, coalesce(job_id::text, target), (details #>> '{changes,payload,new,mark}')::integer
    FROM haulier.audit
    JOIN chaos.recorded ON audit_id = audit.id
"""


class Written(NamedTuple):
    """A write of a job's row. What is as in chaos.written; all else as it was written, or last of what went."""

    tx: int
    what: str
    job: str
    copy_of: str | None
    status: str
    queue: str
    priority: int
    mark: int | None
    tag: str | None


class Operation(NamedTuple):
    """An operation in the end.

    Its preview may have seen transactions below xmax, but for those of open; chunks are those in which it acted.
    """

    id: str
    action: str
    filter: dict[str, Any]
    status: str
    matched: int
    done: int
    skipped: int
    failed: int
    error: str | None
    xmin: int
    xmax: int
    open: Sequence[int]
    chunks: Sequence[int]

    def saw(self, tx: int) -> bool:
        """Return whether its preview may have seen what this transaction wrote."""
        return tx < self.xmin or (tx < self.xmax and tx not in self.open)


class Recorded(NamedTuple):
    """An entry of the audit. `target` is a job or an operation; mark is in the payload that the act wrote."""

    tx: int
    action: str
    target: str | None
    mark: int | None


@dataclass(frozen=True)
class Witness:
    """All of it, each in the order in which it was written."""

    written: Sequence[Written] = ()
    operations: Sequence[Operation] = ()
    recorded: Sequence[Recorded] = ()


def read(conn: Connection) -> Witness:
    """Return what the triggers have noted."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        with conn.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    return Witness(
        [Written(*row) for row in rows(WRITTEN)],
        [Operation(*row) for row in rows(OPERATIONS)],
        [Recorded(*row) for row in rows(RECORDED)],
    )
