"""How many jobs there are: said only where that costs little, and where it does not, more than how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from haulier.domain.job import LIVE_STATUSES, JobStatus
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look import Count, count_jobs, live_by_status

from .reading import Part, kept, part, searched

# A count walks an index: for so long what it found is good enough.
KEPT_SECONDS = 5.0
ENDED_BADLY = frozenset((JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED))


@dataclass(frozen=True, slots=True)
class Counted:
    """So many jobs, and perhaps more. Shape: when they were counted is no news, and left out."""

    jobs: int
    is_exact: bool

    @classmethod
    def of(cls, found: Count) -> Counted:
        """Return what a count found."""
        return cls(found.jobs, found.is_exact)


def counted(wanted: JobFilter, key: tuple[object, ...]) -> Part[Counted]:
    """Return how many there are, as far as a short look finds them. Shape: equal filters have equal keys."""
    look = partial(searched, lambda conn: Counted.of(count_jobs(conn, wanted)))
    return kept("count of jobs", key, look, seconds=KEPT_SECONDS)


def live(wanted: JobFilter) -> Mapping[JobStatus, int]:
    """Return how many live jobs of these kinds and queues have each status; nothing where nobody has counted lately."""
    key = (tuple(wanted.kinds or ()), tuple(wanted.queues or ()), wanted.queues is None)
    return kept("live jobs", key, lambda: part(lambda conn: live_by_status(conn, wanted))).value or {}


def total(wanted: JobFilter, key: tuple[object, ...]) -> Counted | None:
    """Return how many jobs a list has, of those whose number costs little: live ones, failed and cancelled ones.

    Shape: for the key see `counted`.
    """
    statuses = set(wanted.possible_statuses or JobStatus)
    if wanted.is_answered_by_depths:
        found = live(wanted)
        return Counted(sum(found.get(each, 0) for each in statuses), True) if found else None
    if wanted.payload or not statuses <= ENDED_BADLY | set(LIVE_STATUSES):
        return None
    return counted(wanted, key).value
