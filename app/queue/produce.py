"""The verbs of whoever has work: enqueue, get, list, cancel, retry. Functions over a connection, so that a caller
can pass its own transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.domain.errors import InvalidTransition, JobNotFound
from app.domain.job import Job, JobStatus, NewJob
from app.queue.connection import Connection, rows, transaction
from app.queue.history import days_ahead, with_history
from app.queue.rows import job_of

# A batch of 10,000 jobs takes about a second; a request is cut off at 30.
BULK_SECONDS = 20.0


class Receipt(StrEnum):
    """What became of one asked-for job."""

    CREATED = "created"
    REPLAYED = "replayed"  # its key was known, with the same request: the existing job is given
    MISMATCH = "mismatch"  # its key was known, with another request: nothing was enqueued
    GONE = "gone"  # its key was known, but the job has been purged: nothing was enqueued


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The answer to one NewJob. Shape: job is None on MISMATCH and GONE."""

    receipt: Receipt
    job: Job | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; `after` is the (created_at, id) of the last one already seen."""

    status: JobStatus | None = None
    kind: str | None = None
    queue: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many live jobs of a queue stand in a status, and the age of the oldest that is due."""

    queue: str
    status: JobStatus
    jobs: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What /metrics says of the whole system, from one query."""

    depths: list[QueueDepth] = field(default_factory=list)
    workers: int = 0
    oldest_beat_seconds: float | None = None
    history_days_ahead: float = 0.0


def enqueue(conn: Connection, jobs: Sequence[NewJob], *, atomic: bool = True) -> list[Enqueued]:
    """Store the jobs and return a receipt for each, in the order given.

    With atomic, one MISMATCH or GONE leaves nothing stored: the receipts that say CREATED are then of jobs that do
    not exist. Without, the others are stored. A key given twice: the second is REPLAYED or MISMATCH.

    Inside the caller's own transaction the jobs are stored when that commits; there, atomic raises nothing back.
    """
    receipts: list[Enqueued] = []
    try:
        with transaction(conn, seconds=BULK_SECONDS):
            receipts = _enqueue(conn, jobs)
            if atomic and any(receipt.job is None for receipt in receipts):
                raise _Refused
    except _Refused:
        pass
    return receipts


class _Refused(Exception):
    pass


def _enqueue(conn: Connection, jobs: Sequence[NewJob]) -> list[Enqueued]:
    # By position, not by value: the same NewJob may be given many times, and makes as many jobs.
    first: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if job.idempotency_key is not None:
            first.setdefault(job.idempotency_key, index)
    holders = _take_keys(conn, {key: jobs[index] for key, index in first.items()})

    def is_new(index: int) -> bool:
        key = jobs[index].idempotency_key
        return key is None or (first[key] == index and holders[key].ours)

    fresh = [index for index in range(len(jobs)) if is_new(index)]
    keys = [jobs[index].idempotency_key for index in fresh]
    ids = [None if key is None else holders[key].job_id for key in keys]
    stored = dict(zip(fresh, _insert(conn, [jobs[index] for index in fresh], ids), strict=True))

    known = [holder.job_id for holder in holders.values() if not holder.ours]
    existing = {row["id"]: job_of(row) for row in rows(conn, "get_jobs", ids=known)} if known else {}
    existing.update((job.id, job) for job in stored.values())

    def receipt(index: int, job: NewJob) -> Enqueued:
        if index in stored:
            return Enqueued(Receipt.CREATED, stored[index])
        assert job.idempotency_key is not None
        holder = holders[job.idempotency_key]
        if holder.fingerprint != job.fingerprint():
            return Enqueued(Receipt.MISMATCH, None)
        if holder.job_id not in existing:
            return Enqueued(Receipt.GONE, None)
        return Enqueued(Receipt.REPLAYED, existing[holder.job_id])

    return [receipt(index, job) for index, job in enumerate(jobs)]


@dataclass(frozen=True, slots=True)
class _Holder:
    job_id: UUID
    fingerprint: bytes
    ours: bool


def _take_keys(conn: Connection, first: dict[str, NewJob]) -> dict[str, _Holder]:
    holders: dict[str, _Holder] = {}
    # A key that is purged between the two statements is neither taken nor found; then it is free to take.
    while missing := sorted(first.keys() - holders.keys()):
        prints = {key: first[key].fingerprint() for key in missing}
        for row in rows(conn, "take_keys", keys=missing, fingerprints=[prints[key] for key in missing]):
            holders[row["key"]] = _Holder(row["job_id"], prints[row["key"]], ours=True)
        if others := [key for key in missing if key not in holders]:
            for row in rows(conn, "find_keys", keys=others):
                holders[row["key"]] = _Holder(row["job_id"], bytes(row["fingerprint"]), ours=False)
    return holders


def _insert(conn: Connection, jobs: Sequence[NewJob], ids: Sequence[UUID | None]) -> list[Job]:
    if not jobs:
        return []
    stored = rows(
        conn,
        "enqueue",
        ids=list(ids),
        kinds=[job.kind for job in jobs],
        payloads=[json.dumps(job.payload, ensure_ascii=False) for job in jobs],
        queues=[job.queue for job in jobs],
        priorities=[job.priority for job in jobs],
        max_attempts=[job.max_attempts for job in jobs],
        run_ats=[job.run_at for job in jobs],
        delays=[job.delay.total_seconds() if job.delay else None for job in jobs],
        timeouts=[job.timeout_seconds for job in jobs],
        keys=[job.idempotency_key for job in jobs],
    )
    return [job_of(row) for row in stored]


def get(conn: Connection, job_id: UUID) -> Job:
    """Return the job, live or finished. Raises: JobNotFound."""
    found = rows(conn, "get_jobs", ids=[job_id])
    if not found:
        raise JobNotFound(job_id)
    return job_of(found[0])


def list_jobs(conn: Connection, wanted: JobFilter) -> list[Job]:
    """Return the jobs, newest first (created_at, then id, descending), at most `limit`."""
    after_at, after_id = wanted.after or (None, None)
    found = rows(
        conn,
        "list_jobs",
        status=wanted.status,
        kind=wanted.kind,
        queue=wanted.queue,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        after_at=after_at,
        after_id=after_id,
        limit=wanted.limit,
        offset=wanted.offset,
    )
    return [job_of(row) for row in found]


def cancel(conn: Connection, job_id: UUID) -> bool:
    """Cancel the job: True when it is cancelled, False when it runs and was asked to stop.

    Raises: JobNotFound; InvalidTransition when it had ended.
    """
    while True:
        done = with_history(conn, lambda: _cancel_live(conn, job_id))
        if done is not None:
            return done
        # The job may have ended while its lock was waited for, and only a new snapshot sees where it went.
        job = get(conn, job_id)
        if job.status.is_final:
            raise InvalidTransition(job_id, job.status, "cancel")


def _cancel_live(conn: Connection, job_id: UUID) -> bool | None:
    with transaction(conn):
        live = rows(conn, "lock_job", id=job_id)
        if not live:
            return None
        if live[0]["status"] == JobStatus.RUNNING:
            rows(conn, "cancel_running", id=job_id)
            return False
        rows(conn, "cancel_waiting", id=job_id)
        return True


def retry(conn: Connection, job_id: UUID) -> Job:
    """Queue a failed or cancelled job again, with a full budget. Raises: JobNotFound, InvalidTransition."""
    back = rows(conn, "retry", id=job_id)
    if back:
        return job_of(back[0])
    raise InvalidTransition(job_id, get(conn, job_id).status, "retry")


def overview(conn: Connection) -> Overview:
    """Return the depth of every queue, the age of the oldest due job, and how the workers are."""
    depths = [
        QueueDepth(row["queue"], JobStatus(row["status"]), row["jobs"], row["oldest_due_seconds"])
        for row in rows(conn, "queue_depths")
    ]
    [health] = rows(conn, "worker_health")
    return Overview(depths, health["workers"], health["oldest_beat_seconds"], days_ahead(conn))


def ping(conn: Connection) -> None:
    """Make one round trip. Raises: DatabaseUnavailable."""
    rows(conn, "ping")
