"""The jobs that run: which, since when, and on which worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker has claimed, and perhaps not begun.

    Shape: host and pid are None where its worker was declared dead: others are about to take it over.
    """

    id: UUID
    kind: str
    queue: str
    attempts: int
    max_attempts: int
    timeout_seconds: int | None
    started_at: datetime
    cancel_requested: bool
    worker_id: UUID
    host: str | None
    pid: int | None
    priority: int
    created_at: datetime


def list_running(
    conn: Connection,
    *,
    queues: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    worker: UUID | None = None,
    limit: int = 200,
) -> tuple[list[RunningJob], bool]:
    """Return the running jobs, longest first, and whether more run.

    Shape: of several queues or kinds any will do; None: every one.
    """
    found = rows(
        conn,
        "list_running",
        queues=None if queues is None else list(queues),
        kinds=None if kinds is None else list(kinds),
        worker=worker,
        limit=limit + 1,
    )
    names = RunningJob.__dataclass_fields__
    jobs = [RunningJob(**{name: row[name] for name in names} | _times(row)) for row in found[:limit]]
    return jobs, len(found) > limit


def _times(row: Row) -> dict[str, datetime]:
    return {name: utc(row[name]) for name in ("started_at", "created_at")}
