"""How many jobs a list has: counted only if that is cheap, and otherwise "more than" a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from haulier.domain.job import LIVE_STATUSES, JobStatus
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Count, count_jobs, live_by_status

from ..kit.reading import Part, kept, part, searched

# A count walks an index, so it is kept for longer than a page.
KEPT_SECONDS = 5.0
ENDED_BADLY = frozenset((JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED))


@dataclass(frozen=True, slots=True)
class Counted:
    """A count of jobs. If it is not exact, there are more."""

    jobs: int
    is_exact: bool

    @classmethod
    def of(cls, found: Count) -> Counted:
        """Return the result of a count."""
        return cls(found.jobs, found.is_exact)


def counted(wanted: JobFilter, key: tuple[object, ...]) -> Part[Counted]:
    """Return how many jobs a short scan finds. Equal filters have equal keys."""
    look = partial(searched, lambda conn: Counted.of(count_jobs(conn, wanted)))
    return kept("count of jobs", key, look, seconds=KEPT_SECONDS)


def live(wanted: JobFilter) -> Mapping[JobStatus, int]:
    """Return the live jobs of these kinds and queues per status; empty if nobody has counted them recently."""
    key = (tuple(wanted.kinds or ()), tuple(wanted.queues or ()), wanted.queues is None)
    return kept("live jobs", key, lambda: part(lambda conn: live_by_status(conn, wanted))).value or {}


def total(wanted: JobFilter, key: tuple[object, ...]) -> Counted | None:
    """Return how many jobs a list has if they are cheap to count: live, failed and cancelled jobs.

    For the key see `counted`.
    """
    statuses = set(wanted.possible_statuses or JobStatus)
    if wanted.is_answered_by_depths:
        found = live(wanted)
        return Counted(sum(found.get(each, 0) for each in statuses), True) if found else None
    if wanted.payload or not statuses <= ENDED_BADLY | set(LIVE_STATUSES):
        return None
    return counted(wanted, key).value
