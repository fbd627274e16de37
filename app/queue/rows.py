"""From a row of the job tables to the Job it is."""

from __future__ import annotations

from dataclasses import fields

from app.domain.job import Job, JobStatus
from app.queue.connection import Row, utc

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
