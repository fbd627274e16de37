"""The workers, how each is and what it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from haulier.domain.errors import WorkerNotFound
from haulier.domain.vitals import Vitals, read_vitals
from haulier.domain.worker import WorkerState, worker_name
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc
from haulier.queue.search.running import list_running

# This many of its jobs are named; a worker claims thousands of small ones ahead.
MOST_JOBS = 100


@dataclass(frozen=True, slots=True)
class HeldBy:
    """A job that a worker has claimed."""

    id: UUID
    kind: str
    queue: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process.

    Queues None: every queue. version and kinds None: it has not stored them yet. release is what the team calls its
    program, None if nothing says so. running is how many jobs it has
    claimed, None if that was not asked for; jobs are the first MOST_JOBS of them, and empty in a list of workers.
    lease_ends is when it is declared dead unless it beats. lives is true if its lease has not run out: its row stays
    until another worker finds that out. takes is true if it claims jobs besides: it is neither quiet nor stopping.
    vitals are None before its first heartbeat, once it has ended, and for callers who may not see every queue.
    ended_at is None while it lives; ended_how is `stopped` or, if its lease had run out, `buried`. Of one that has
    ended, kinds are not kept; taken_over is how many jobs other workers took from it.
    """

    id: UUID
    host: str
    pid: int
    version: str | None
    threads: int
    queues: Sequence[str] | None
    kinds: Sequence[str] | None
    state: WorkerState
    started_at: datetime
    beat_at: datetime
    lease_ends: datetime
    scans_fail: bool
    running: int | None
    lives: bool
    takes: bool
    release: str | None = None
    vitals: Vitals | None = None
    jobs: Sequence[HeldBy] = ()
    ended_at: datetime | None = None
    ended_how: str | None = None
    taken_over: int | None = None

    @property
    def name(self) -> str:
        """Return what it is called."""
        return worker_name(self.host, self.pid)


def list_workers(
    conn: Connection,
    *,
    before: UUID | None = None,
    limit: int = 50,
    queues: Sequence[str] | None = None,
    counts_jobs: bool = True,
) -> tuple[list[Worker], bool]:
    """Return the workers before this one, newest first, and whether more follow.

    `queues` are those that the caller may see; None: every queue. Workers that serve none of them are left out.
    counts_jobs: whether to count the jobs of each, which takes time on a busy database.
    """
    found = _workers(conn, None, before, limit + 1, queues, counts_jobs=counts_jobs)
    return [_worker(row) for row in found[:limit]], len(found) > limit


def get_worker(conn: Connection, worker_id: UUID, *, queues: Sequence[str] | None = None) -> Worker:
    """Return the worker and what it runs, or what is kept of it once it has ended. Raises: WorkerNotFound."""
    shown = None if queues is None else list(queues)
    found = _workers(conn, worker_id, None, 1, queues) or rows(conn, "ended_worker", worker=worker_id, queues=shown)
    if not found:
        raise WorkerNotFound(worker_id)
    held, _ = list_running(conn, worker=worker_id, queues=queues, limit=MOST_JOBS)
    return _worker(found[0], [HeldBy(job.id, job.kind, job.queue, job.started_at) for job in held])


def quiet(conn: Connection, worker_id: UUID, is_quiet: bool, *, actor: str | None = None) -> None:
    """Let the worker claim no more, or claim again; `actor` goes into the audit. Raises: WorkerNotFound."""
    [found] = rows(conn, "quiet_worker", worker=worker_id, is_quiet=is_quiet, actor=actor)
    if not found["is_there"]:
        raise WorkerNotFound(worker_id)


def _workers(
    conn: Connection,
    worker: UUID | None,
    before: UUID | None,
    limit: int,
    queues: Sequence[str] | None,
    *,
    counts_jobs: bool = True,
) -> list[Row]:
    asked: dict[str, Any] = {"worker": worker, "before_id": before, "limit": limit, "counts_jobs": counts_jobs}
    return rows(conn, "list_workers", **asked, queues=None if queues is None else list(queues))


def _worker(row: Row, jobs: Sequence[HeldBy] = ()) -> Worker:
    times = {name: utc(row[name]) for name in ("started_at", "beat_at", "lease_ends", "ended_at") if row.get(name)}
    said = {"state": WorkerState(row["state"]), "vitals": read_vitals(row["vitals"])}
    return Worker(**{**row, **times, **said}, jobs=jobs)
