"""Which jobs a list, a count or an operation means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.fingerprint import id_text, read_id
from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, JobStatus

Position = tuple[datetime, UUID]


def _time_text(instant: datetime) -> str:
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}Z"


def _condition(parameter: str, read: Callable[[Any], Any] = str, write: Callable[[Any], Any] = str) -> Any:
    """Return a field of a filter: what clients call it, and how its value is read and written in a stored filter."""
    return field(default=None, metadata={"parameter": parameter, "read": read, "write": write})


def _time(parameter: str) -> Any:
    return _condition(parameter, datetime.fromisoformat, _time_text)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant, newest first; `after` is the (created_at, id) of the last one already seen.

    Of several statuses, kinds, queues or tags any will do; None: every one. error_id is the group of errors with which
    the job has failed permanently, or after which it is to be retried. The worker is that which runs the job, or ran
    its last attempt before it ended. payload maps paths, whose steps are separated by dots, to the text that is there.
    All times are excluded.
    """

    statuses: Sequence[JobStatus] | None = _condition("status", JobStatus)
    kinds: Sequence[str] | None = _condition("kind")
    queues: Sequence[str] | None = _condition("queue")
    tags: Sequence[str] | None = _condition("tag")
    error_id: int | None = _condition("error", read_id, id_text)
    worker: UUID | None = _condition("worker", UUID)
    idempotency_key: str | None = _condition("key")
    attempts_min: int | None = _condition("attempts_min", int, int)
    payload: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = _time("created_after")
    created_before: datetime | None = _time("created_before")
    finished_after: datetime | None = _time("finished_after")
    finished_before: datetime | None = _time("finished_before")
    after: Position | None = None
    limit: int = 50
    offset: int = 0

    @property
    def is_selective(self) -> bool:
        """Return whether jobs have to be looked at to know which are wanted."""
        named = (self.statuses, self.kinds, self.queues)
        return self.looks_inside or any(each is not None for each in named)

    @property
    def is_live(self) -> bool:
        """Return whether only jobs that have not ended are wanted."""
        return set(self.possible_statuses or JobStatus) <= set(LIVE_STATUSES)

    @property
    def looks_inside(self) -> bool:
        """Return whether more is asked about each job than its status, kind, queue, error and time."""
        return bool(self.payload) or any(getattr(self, name) is not None for name in NAMES if name not in _OUTSIDE)

    @property
    def is_by_depth(self) -> bool:
        """Return whether the count of the live jobs by queue, kind and status has the live jobs of this filter."""
        outside = (self.error_id, self.created_after, self.created_before)
        return not self.looks_inside and all(each is None for each in outside)

    @property
    def is_answered_by_depths(self) -> bool:
        """Return whether that count has all jobs of this filter."""
        return self.is_by_depth and self.statuses is not None and set(self.statuses) <= set(LIVE_STATUSES)

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
        values = {name: getattr(self, name) for name in NAMES if not name.startswith("created_")}
        return {
            **{name: list(value) if isinstance(value, list | tuple) else value for name, value in values.items()},
            "statuses": None if statuses is None else [str(each) for each in statuses],
            "paths": list(self.payload) or None,
            "texts": list(self.payload.values()),
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


# The conditions by what clients call them, and their names here.
CONDITIONS: Mapping[str, Field[Any]] = {each.metadata["parameter"]: each for each in fields(JobFilter) if each.metadata}
NAMES = tuple(each.name for each in CONDITIONS.values())
# What is known of a job without reading it whole.
_OUTSIDE = {"statuses", "kinds", "queues", "error_id", "created_after", "created_before"}


def _day_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
