"""What the client sends and returns, for type checkers: objects of JSON, by the names of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

Status = Literal["queued", "running", "retrying", "succeeded", "failed_permanent", "cancelled"]


class Job(TypedDict):
    """A job as the API returns it: docs/api.md explains the fields. Times are text (RFC 3339, UTC)."""

    id: str
    kind: str
    status: Status
    payload: dict[str, Any]
    queue: str
    priority: int
    tags: list[str]
    attempts: int
    max_attempts: int
    timeout_seconds: int | None
    idempotency_key: str | None
    run_at: str
    created_at: str
    updated_at: str
    started_at: str | None
    finished_at: str | None
    result: Any
    last_error: str | None
    errors: list[dict[str, Any]]
    progress: dict[str, Any] | None
    cancel_requested: bool
    worker_id: str | None
    copy_of: str | None
    schedule: str | None
    scheduled_for: str | None


class JobOptions(TypedDict, total=False):
    """What a job may be given besides kind and payload; what is absent or None has its default."""

    queue: str | None
    priority: int | None
    run_at: datetime | str | None
    delay_seconds: float | None
    max_attempts: int | None
    timeout_seconds: int | None
    tags: Sequence[str] | None


class JobRequest(JobOptions, total=False):
    """A job to enqueue."""

    kind: Required[str]
    payload: Mapping[str, Any]
    idempotency_key: str | None


class JobChanges(JobOptions, total=False):
    """What a retry may change; what is absent stays."""

    payload: Mapping[str, Any]


class Enqueued(TypedDict):
    """A job of `enqueue_many`. `replayed` says that its idempotency key was known: this is the existing job."""

    id: str
    replayed: bool


class JobFilter(TypedDict, total=False):
    """Which jobs to list: several values of a field match if any of them does."""

    status: Status | Sequence[Status]
    kind: str | Sequence[str]
    queue: str | Sequence[str]
    tag: str | Sequence[str]
    error: str
    worker: str
    key: str
    attempts_min: int
    created_after: datetime | str
    created_before: datetime | str
    finished_after: datetime | str
    finished_before: datetime | str
    payload: Mapping[str, Any]
