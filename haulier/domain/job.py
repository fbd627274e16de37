"""The job, as it is asked for (NewJob) and as it is kept (Job), and the states between which it moves.

    (enqueue) ──▶ queued ──claim──▶ running ──complete──▶ succeeded
                    ▲                │  │  └──fail, budget spent or permanent──▶ failed_permanent
                    │                │  └──fail──▶ retrying ──claim──▶ running
                    └─release/snooze─┘
    queued, retrying ──cancel──▶ cancelled;  running ──cancel──▶ (flag) ──any way out──▶ cancelled
    failed_permanent, cancelled ──retry──▶ queued

Used by every other room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

Json = Any
# The integers that a client may send and gets back unchanged. Beyond them a number becomes a double.
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1

# Up to this number a double, which is what most clients read numbers as, holds every integer.
MOST_EXACT = 2**53

NAME_PATTERN = r"^[a-z][a-z0-9_.-]{0,63}$"
BAD_NAME = "Must begin with a letter a-z, then up to 63 of a-z, 0-9, '_', '.', '-'."
DEFAULT_QUEUE = "default"
DEFAULT_MAX_ATTEMPTS = 3
MAX_MAX_ATTEMPTS = 1000
MIN_PRIORITY, MAX_PRIORITY = -100, 100
MAX_TIMEOUT_SECONDS = 86_400
MAX_DELAY_SECONDS = 31_536_000
MAX_SNOOZES = 100
KEPT_ERRORS = 20
MAX_TAGS, MAX_TAG = 10, 64
TAG_PATTERN = rf"^[^\x00]{{1,{MAX_TAG}}}$"
BAD_TAG = f"Must be 1 to {MAX_TAG} characters, without NUL."
MAX_PAYLOAD_BYTES = 256 * 1024
# So deep a request may be nested.
MAX_DEPTH = 64


class JobStatus(StrEnum):
    """Where a job stands; the first three are live, the last three final."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED_PERMANENT = "failed_permanent"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


LIVE_STATUSES = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING)
FINAL_STATUSES = (JobStatus.SUCCEEDED, JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED)
WAITING_STATUSES = (JobStatus.QUEUED, JobStatus.RETRYING)


class JobOrder(StrEnum):
    """An order of a list but the usual one, newest first: as workers take a queue's jobs, or longest running first."""

    DUE = "due"
    STARTED = "started"

    def fits(self, names: Collection[str], statuses: Collection[JobStatus], queues: Collection[str]) -> bool:
        """Return whether there is a quick way to the first jobs of a filter that asks for these fields and values."""
        if self is JobOrder.STARTED:
            return set(statuses) == {JobStatus.RUNNING} and set(names) <= {"status", "kind", "queue", "worker"}
        return set(names) == {"status", "queue"} and set(statuses) == set(WAITING_STATUSES) and len(queues) == 1


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that somebody asks for; the code that builds it has validated the values.

    Units: run_at is aware; delay is a duration, and never given beside run_at.
    """

    kind: str
    payload: dict[str, Json]
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    run_at: datetime | None = None
    delay: timedelta | None = None
    timeout_seconds: int | None = None
    idempotency_key: str | None = None
    tags: Sequence[str] = ()
    # The payload with the kind's defaults filled in, by which two requests are compared. None: the payload as it is.
    parsed_payload: Json = None

    def fingerprint(self) -> bytes:
        """Return what two requests under one idempotency key must share: all but the key itself."""
        # The slots are the fields: a new one is compared without a line here.
        asked: dict[str, Json] = {name: getattr(self, name) for name in self.__slots__ if name != "idempotency_key"}
        parsed = asked.pop("parsed_payload")
        asked |= {
            "payload": self.payload if parsed is None else parsed,
            "run_at": self.run_at and self.run_at.timestamp(),
            "delay": None if self.delay is None else self.delay.total_seconds(),
            # Their order says nothing.
            "tags": sorted(self.tags),
        }
        # With default=str, since a schema may load values of types of its own, such as dates.
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).digest()


class Job(NamedTuple):
    """A job as the database keeps it.

    `attempts` is the budget spent, as clients see it. `attempt` and `claim` are the fence: `attempt` counts every claim
    and only grows, `claim` is new for each claim statement. `progress` is what the running handler last said: {done,
    total, note, at}, or None. `schedule` is the one whose tick has enqueued it, which was due at `scheduled_for`; or
    None.
    Units: backoff is the previous sleep in seconds; times are aware, UTC.
    """

    id: UUID
    status: JobStatus
    kind: str
    queue: str
    priority: int
    run_at: datetime
    attempts: int
    max_attempts: int
    timeout_seconds: int | None
    cancel_requested: bool
    payload: dict[str, Json]
    idempotency_key: str | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    attempt: int
    claim: UUID | None
    worker_id: UUID | None
    crashes: int
    snoozes: int
    backoff: float | None
    errors: Sequence[dict[str, Json]] = ()
    finished_at: datetime | None = None
    result: Json = None
    progress: Json = None
    tags: Sequence[str] = ()
    copy_of: UUID | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None

    @property
    def is_last_attempt(self) -> bool:
        """Return whether the present attempt is the last of the budget."""
        return self.attempts >= self.max_attempts
