"""Change a job that waits; and what else an act on a job may change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from haulier.domain.errors import InvalidTransition, JobChanged, TooFewAttempts
from haulier.domain.job import JobStatus, Json
from haulier.postgres.statements import Connection
from haulier.queue.jobs.acting import Many, acted, acted_on_all
from haulier.queue.rows import StoredJob, job_of
from haulier.queue.search.job_list import visible

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different in a job; the code that builds it has validated the values.

    `fields` is a JSON object with any of queue, priority, run_at (RFC 3339), delay_seconds, max_attempts,
    timeout_seconds, tags and payload that are to change. seen is the hash of the payload on which a new one is based:
    if the job has another by then, nothing is done. noted is a JSON object, what the audit is to say of both payloads,
    without what the kind keeps secret.
    """

    fields: str = "{}"
    seen: bytes | None = None
    noted: str | None = None

    @classmethod
    def of(cls, **fields: Json) -> Changes:
        """Return changes of these fields."""
        return cls(_write(fields))

    @property
    def sent(self) -> dict[str, Any]:
        """Return what the statements are sent of the changes."""
        return {"changes": self.fields, "seen": self.seen, "noted": self.noted}


NONE = Changes()


def change(
    conn: Connection, job_id: UUID, changes: Changes, *, actor: str | None = None, queues: Sequence[str] | None = None
) -> StoredJob:
    """Change a job that waits and return it; with queues, only one in these. What changed goes into the audit.

    Raises: JobNotFound; InvalidTransition for a job that runs or has ended; JobChanged; TooFewAttempts if it would
            have used up all attempts, or more.
    """
    job = acted(conn, job_id, ["change"], actor=actor, queues=queues, **changes.sent)
    if job and (job["is_written"] or not job["differs"]):
        return job_of(job)
    if job and job["has_too_few_attempts"]:
        raise TooFewAttempts
    found = visible(conn, job_id, queues)
    if found.status.is_final or found.status is JobStatus.RUNNING:
        raise InvalidTransition(job_id, found.status, "change")
    raise JobChanged(job_id)


def change_all(conn: Connection, many: Many, changes: Changes) -> int:
    """Bring jobs that wait into another queue, priority or time, and return how many."""
    return acted_on_all(conn, "change_all", many, **changes.sent)
