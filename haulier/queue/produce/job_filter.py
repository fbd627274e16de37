"""Which jobs a list, a count or an operation means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, JobStatus

Position = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant, newest first; `after` is the (created_at, id) of the last one already seen.

    Shape: of several statuses, kinds, queues or tags any will do; None: every one. error_id is the group of errors with
           which the job has failed for good, or after which it is to be tried again. The worker is that which runs the
           job, or ran its last attempt before it ended. payload maps paths, whose steps are separated by dots, to the
           text that is there. All times are excluded.
    """

    statuses: Sequence[JobStatus] | None = None
    kinds: Sequence[str] | None = None
    queues: Sequence[str] | None = None
    tags: Sequence[str] | None = None
    error_id: int | None = None
    worker: UUID | None = None
    idempotency_key: str | None = None
    attempts_min: int | None = None
    payload: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    after: Position | None = None
    limit: int = 50
    offset: int = 0

    @property
    def is_selective(self) -> bool:
        """Tell whether jobs have to be looked at to know which are wanted."""
        named = (self.statuses, self.kinds, self.queues)
        return self.looks_inside or any(each is not None for each in named)

    @property
    def looks_inside(self) -> bool:
        """Tell whether more is asked about each job than its status, kind, queue and time."""
        asked = (self.tags, self.worker, self.idempotency_key, self.attempts_min)
        times = (self.finished_after, self.finished_before)
        return bool(self.payload) or any(each is not None for each in (*asked, *times))

    @property
    def is_answered_by_depths(self) -> bool:
        """Tell whether the count of the live jobs by queue, kind and status says how many there are."""
        return (
            self.statuses is not None
            and set(self.statuses) <= set(LIVE_STATUSES)
            and not self.looks_inside
            and self.error_id is None
            and self.created_after is None
            and self.created_before is None
        )

    @property
    def possible_statuses(self) -> Sequence[JobStatus] | None:
        """Return the statuses that a wanted job may have; None for any."""
        possible = set(JobStatus) if self.statuses is None else set(self.statuses)
        if self.error_id is not None:
            possible &= {JobStatus.FAILED_PERMANENT, JobStatus.RETRYING}
        if self.worker is not None:
            possible &= {JobStatus.RUNNING, *FINAL_STATUSES}
        if self.finished_after is not None or self.finished_before is not None:
            possible &= set(FINAL_STATUSES)
        return None if possible == set(JobStatus) else sorted(possible)

    @property
    def conditions(self) -> dict[str, Any]:
        """Return what the statements are sent for the part `wanted`."""
        statuses = self.possible_statuses
        return {
            "statuses": None if statuses is None else [str(each) for each in statuses],
            "kinds": None if self.kinds is None else list(self.kinds),
            "queues": None if self.queues is None else list(self.queues),
            "tags": None if self.tags is None else list(self.tags),
            "error_id": self.error_id,
            "worker": self.worker,
            "idempotency_key": self.idempotency_key,
            "attempts_min": self.attempts_min,
            "paths": list(self.payload) or None,
            "texts": list(self.payload.values()),
            "finished_after": self.finished_after,
            "finished_before": self.finished_before,
        }

    @property
    def times(self) -> dict[str, Any]:
        """Return what the statements are sent of the times, but for `created_after`, which a look moves on."""
        before = [each for each in (self.created_before, self.finished_before) if each is not None]
        return {
            # A job is created before it ends.
            "created_before": min(before, default=None),
            "first_day": self.finished_after and _day_of(self.finished_after),
            "day_after": self.finished_before and _day_of(self.finished_before) + timedelta(days=1),
        }


def _day_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
