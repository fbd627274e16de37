"""Jobs as a worker has claimed them, and a claim size that has learned how long they take."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from haulier.domain.job import Job, JobStatus
from haulier.queue.rows import ClaimedJob
from haulier.worker.shared.claim_size import ClaimSize

NOW = datetime.now(UTC)


def a_job(kind: str) -> Job:
    return Job(
        id=uuid4(), status=JobStatus.RUNNING, kind=kind, queue="default", priority=0, run_at=NOW, attempts=1,
        max_attempts=3, timeout_seconds=None, cancel_requested=False, payload={}, idempotency_key=None,
        last_error=None, created_at=NOW, updated_at=NOW, started_at=NOW, attempt=1, claim=uuid4(), worker_id=uuid4(),
        crashes=0, snoozes=0, backoff=None,
    )  # fmt: skip


def a_claimed_job(*, queue: str, priority: int, text: str = "") -> ClaimedJob:
    """Return a job of this lane as a claim brings it, with so much text."""
    return ClaimedJob(*a_job("mail"))._replace(queue=queue, priority=priority, payload=text, errors="")


def learn(pace: ClaimSize, kind: str, seconds: float, *, times: int = 200) -> None:
    """Claim and run so many jobs."""
    for _ in range(times):
        pace.ran(kind, seconds)
        pace.fitting([a_job(kind)], free=1)
