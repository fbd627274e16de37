"""Jobs as a worker has claimed them, and a claim size that has learned how long they take."""

from __future__ import annotations

from haulier.domain.job import Job
from haulier.queue.rows import ClaimedJob
from haulier.testing.performed import first_run
from haulier.worker.supply.sizes import ClaimSize


def a_job(kind: str) -> Job:
    return first_run(kind, {})


def a_claimed_job(*, queue: str, priority: int, text: str = "") -> ClaimedJob:
    """Return a job of this lane as a claim brings it, with so much text."""
    return ClaimedJob(*a_job("mail"))._replace(queue=queue, priority=priority, payload=text, errors="")


def learn(pace: ClaimSize, kind: str, seconds: float, *, times: int = 200) -> None:
    """Claim and run so many jobs."""
    for _ in range(times):
        pace.ran(kind, seconds)
        pace.fitting([a_job(kind)], free=1)
