"""The workers that have ended, and the jobs that others took over from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.domain.job import JobStatus
from haulier.domain.worker import worker_name
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc


@dataclass(frozen=True, slots=True)
class EndedWorker:
    """A worker process that has ended: `ended_how` is `stopped` or, if its lease had run out, `buried`.

    beat_at is its last heartbeat; missed_at is when the next one was due, a third of its lease later.
    taken_over is how many jobs other workers have taken from it; None for callers who may not see every queue.
    """

    id: UUID
    host: str
    pid: int
    started_at: datetime
    ended_at: datetime
    ended_how: str
    beat_at: datetime
    missed_at: datetime
    queues: Sequence[str] | None
    taken_over: int | None = None

    @property
    def name(self) -> str:
        """Return what it is called."""
        return worker_name(self.host, self.pid)


@dataclass(frozen=True, slots=True)
class EndedOnHost:
    """How many workers of a host ended in the last 24 hours."""

    stopped: int
    buried: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A job that others took over from a worker, as it is now."""

    id: UUID
    kind: str
    queue: str
    status: JobStatus


def list_ended(conn: Connection, *, limit: int, queues: Sequence[str] | None = None) -> list[EndedWorker]:
    """Return the workers that ended last, the last first; `queues` are those that the caller may see."""
    found = rows(conn, "list_ended_workers", limit=limit, queues=_shown(queues))
    times = ("started_at", "beat_at", "missed_at", "ended_at")
    return [EndedWorker(**{**row, **{name: utc(row[name]) for name in times}}) for row in found]


def ended_on_host(conn: Connection, host: str, *, queues: Sequence[str] | None = None) -> EndedOnHost:
    """Return how many workers of the host have ended in the last 24 hours, of those that concern the queues."""
    [row] = rows(conn, "ended_on_host", host=host, queues=_shown(queues))
    return EndedOnHost(row["stopped"], row["buried"])


def taken_over(conn: Connection, worker_id: UUID, *, queues: Sequence[str] | None = None) -> list[TakenOver]:
    """Return the jobs that were taken over from the worker and are kept, at most the first 100."""
    found = rows(conn, "taken_over", worker=worker_id, queues=_shown(queues))
    return [TakenOver(row["id"], row["kind"], row["queue"], JobStatus(row["status"])) for row in found]


def _shown(queues: Sequence[str] | None) -> list[str] | None:
    return None if queues is None else list(queues)
