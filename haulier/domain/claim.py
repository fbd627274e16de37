"""A claim: where it looks for jobs, what it asks for, and how each claimed job is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.fingerprint import Fingerprint
from haulier.domain.job import Job
from haulier.domain.outcome import Outcome

# Queue and priority.
LaneName = tuple[str, int]

# Before the first lane: no queue has this name.
BEGINNING: LaneName = ("", 0)


class Mark(NamedTuple):
    """A place in a lane from which to read on: no waiting job is expected before it."""

    queue: str
    priority: int
    run_at: datetime
    id: UUID

    @property
    def lane(self) -> LaneName:
        """Return the lane that it is in."""
        return (self.queue, self.priority)


def rank(mark: Mark, turn: int = 0) -> tuple[int, int, datetime]:
    """Return the key that sorts marks by lanes, best first: highest priority, then lowest turn, then longest due."""
    return (-mark.priority, turn, mark.run_at)


@dataclass(frozen=True, slots=True)
class Lane:
    """The waiting jobs of one queue and priority; `head` is the place of the first.

    Units: seconds until a claim may take the first job; negative when it is due already, infinity while its queue is
           paused without an end.
    """

    head: Mark
    seconds: float


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a worker asks for in a claim.

    `free` is how many threads can start a job at once; `passed_over` are jobs to leave out, since the database has
    refused to let them be claimed.
    """

    worker_id: UUID
    claim_id: UUID
    marks: Sequence[Mark]
    limit: int
    free: int
    suspect: bool = False
    passed_over: Sequence[UUID] = ()


class Fence(NamedTuple):
    """One claim of one job."""

    id: UUID
    attempt: int
    claim: UUID

    @classmethod
    def of(cls, job: Job) -> Fence:
        """Return the fence under which this job was claimed."""
        assert job.claim is not None
        return cls(job.id, job.attempt, job.claim)


class Failure(NamedTuple):
    """A failed attempt as it is counted: its group, the job's queue, and its error."""

    group: Fingerprint
    queue: str
    error: str


class Settlement(NamedTuple):
    """One claim and how it ends.

    `alone` marks a crash that no other job can be blamed for; failure is given for an outcome that, unless a cancel
    overrules it, is a failed attempt and is to be counted.
    """

    fence: Fence
    outcome: Outcome
    alone: bool = True
    failure: Failure | None = None

    @property
    def uncounted(self) -> Settlement:
        """Return the same end, not to be counted."""
        return self if self.failure is None else self._replace(failure=None)


@dataclass(frozen=True, slots=True)
class Held:
    """A job that the database thinks a worker runs."""

    fence: Fence
    cancel_requested: bool
