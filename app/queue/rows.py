"""From a row of the job tables to the Job it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.job import Job, JobStatus
from app.queue.connection import Row, read_json, utc

_TIMES = ("run_at", "created_at", "updated_at", "started_at", "finished_at")


def job_of(row: Row) -> Job:
    """Return the Job of a row of haulier.job, haulier.finished_job or haulier.jobs."""
    values = {name: row[name] for name in Job._fields if name in row}
    for name in _TIMES:
        if values.get(name) is not None:
            values[name] = utc(values[name])
    values["status"] = JobStatus(values["status"])
    return Job(**values)


def claimed_job(texts: tuple[Any, ...], *, worker_id: UUID, claim_id: UUID, started_at: datetime) -> Job:
    """Return the Job that a claim has just set running, from a row that `message` gave.

    Shape: the columns of the statement `claim`; started_at is read once a batch.
    """
    (
        _, id_, kind, queue, priority, run_at, attempts, max_attempts, timeout_seconds, payload, idempotency_key,
        last_error, created_at, attempt, crashes, snoozes, backoff, errors,
    ) = texts  # fmt: skip
    # By position: by name it would take three times as long, which is a tenth of what a worker spends on a job.
    return Job(
        UUID(id_), JobStatus.RUNNING, kind, queue, priority, _instant(run_at), attempts, max_attempts, timeout_seconds,
        False, read_json(payload), idempotency_key, last_error, _instant(created_at), started_at, started_at, attempt,
        claim_id, worker_id, crashes, snoozes, backoff, [] if errors == "[]" else read_json(errors),
    )  # fmt: skip


_instant = datetime.fromisoformat
