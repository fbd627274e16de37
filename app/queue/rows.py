"""From a row of the job tables to the Job it is."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.job import Job, JobStatus
from app.queue.connection import Row, read_json, utc

_COLUMNS = tuple(field.name for field in fields(Job))
_TIMES = ("run_at", "created_at", "updated_at", "started_at", "finished_at")


def job_of(row: Row) -> Job:
    """Return the Job of a row of haulier.job, haulier.finished_job or haulier.jobs."""
    values = {name: row[name] for name in _COLUMNS if name in row}
    for name in _TIMES:
        if values.get(name) is not None:
            values[name] = utc(values[name])
    values["status"] = JobStatus(values["status"])
    return Job(**values)


def claimed_job(texts: tuple[Any, ...], *, worker_id: UUID, claim_id: UUID, started_at: datetime) -> Job:
    """Return the Job that a claim has just set running, from a row that `message` gave.

    Shape: the columns of the statement `claim` from `id` on; started_at is that of the row, read once a batch.
    """
    (
        id_, kind, queue, priority, run_at, attempts, max_attempts, timeout_seconds, payload, idempotency_key,
        last_error, created_at, _, attempt, crashes, snoozes, backoff, errors,
    ) = texts  # fmt: skip
    return Job(
        id=UUID(id_),
        status=JobStatus.RUNNING,
        kind=kind,
        queue=queue,
        priority=priority,
        run_at=datetime.fromisoformat(run_at),
        attempts=attempts,
        max_attempts=max_attempts,
        timeout_seconds=timeout_seconds,
        cancel_requested=False,
        payload=read_json(payload),
        idempotency_key=idempotency_key,
        last_error=last_error,
        created_at=datetime.fromisoformat(created_at),
        updated_at=started_at,
        started_at=started_at,
        attempt=attempt,
        claim=claim_id,
        worker_id=worker_id,
        crashes=crashes,
        snoozes=snoozes,
        backoff=backoff,
        errors=[] if errors == "[]" else read_json(errors),
    )
