"""The jobs that run: which, since when, and on which worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.domain.progress import Reported
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc
from haulier.queue.rows import progress_of, worker_of


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker has claimed, and perhaps not begun.

    `worker` is its name; None if it was declared dead: others are about to take the job over.
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
    worker: str | None
    priority: int
    created_at: datetime
    progress: Reported | None = None


def list_running(
    conn: Connection,
    *,
    queues: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    worker: UUID | None = None,
    limit: int = 200,
) -> tuple[list[RunningJob], bool]:
    """Return the running jobs, longest first, and whether more run.

    Of several queues or kinds any will do; None: every one.
    """
    found = rows(
        conn,
        "list_running",
        queues=None if queues is None else list(queues),
        kinds=None if kinds is None else list(kinds),
        worker=worker,
        limit=limit + 1,
    )
    return [_job(row) for row in found[:limit]], len(found) > limit


def _job(row: Row) -> RunningJob:
    columns = {name: row[name] for name in row.keys() & RunningJob.__dataclass_fields__.keys()}
    times = {name: utc(row[name]) for name in ("started_at", "created_at")}
    return RunningJob(**columns | times, worker=worker_of(row), progress=progress_of(row))
