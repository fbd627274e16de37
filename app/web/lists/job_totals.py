"""How many jobs a list has: counted only if that is cheap, and otherwise "more than" a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from haulier.domain.job import LIVE_STATUSES, JobStatus
from haulier.domain.text import number
from haulier.queue.numbers.stats import succeeded_and_kept
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Count, count_jobs, ended_badly, live_by_status

from ..kit.reading import Part, kept, part, searched
from .counting import is_on
from .error_jobs import MOST, counts_of

# A count walks an index, so it is kept for longer than a page.
KEPT_SECONDS = 5.0
# How many jobs have succeeded is a sum over a month.
SUM_SECONDS = 30.0
ENDED_BADLY = frozenset((JobStatus.FAILED_PERMANENT, JobStatus.CANCELLED))


@dataclass(frozen=True, slots=True)
class Counted:
    """A count of jobs. If it is not exact, there are more, or about as many."""

    jobs: int
    is_exact: bool
    is_about: bool = False

    @property
    def text(self) -> str:
        """Return the count as pages show it."""
        return f"≈ {number(self.jobs)}" if self.is_about else f"{number(self.jobs)}{'' if self.is_exact else '+'}"

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


def by_status(wanted: JobFilter) -> Mapping[JobStatus, Counted]:
    """Return how many jobs of these kinds and queues have each status; a status whose number is not known is absent."""
    key = (tuple(wanted.kinds or ()), tuple(wanted.queues or ()), wanted.queues is None)
    found = {status: Counted(jobs, True) for status, jobs in live(wanted).items()}
    look = partial(part, lambda conn: ended_badly(conn, wanted))
    some, is_all = kept("jobs that ended badly", key, look, seconds=KEPT_SECONDS).value or ({}, False)
    found |= {status: Counted(jobs, is_all) for status, jobs in some.items() if jobs or is_all}
    add_up = partial(succeeded_and_kept, kinds=wanted.kinds, queues=wanted.queues)
    jobs = kept("succeeded jobs", key, partial(part, add_up), seconds=SUM_SECONDS).value if is_on() else None
    return found if jobs is None else {**found, JobStatus.SUCCEEDED: Counted(jobs, False, is_about=True)}


def of_error(error_id: int) -> Mapping[JobStatus, Counted]:
    """Return how many jobs of a group of errors have each status that they can have, if that is known."""
    found = counts_of(error_id).value
    if found is None:
        return {}
    counts = {JobStatus.FAILED_PERMANENT: found.failed, JobStatus.RETRYING: found.retrying}
    return {status: Counted(min(jobs, MOST), jobs <= MOST) for status, jobs in counts.items()}


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
