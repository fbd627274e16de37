"""Count the jobs of an error group that can be retried or cancelled: fewer than its failed attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from haulier.domain.text import number
from haulier.postgres.statements import Connection
from haulier.queue.failures.error_groups import MOST_COUNTED, ErrorJobs, failed_of, jobs_of_error

from ...http.auth import caller
from ..kit.reading import Part, kept, part

# The most jobs that are counted of one group, and of each group in a list; seconds for which a count is kept.
MOST, MOST_OF_EACH, SECONDS = MOST_COUNTED - 1, 2_000, 5.0


def counts_of(error_id: int) -> Part[ErrorJobs]:
    """Return how many jobs of a group are failed, and how many wait for a retry."""

    def count(conn: Connection) -> ErrorJobs:
        return jobs_of_error(conn, error_id, queues=caller().queues)

    return kept("counts of failure", (error_id,), partial(part, count), seconds=SECONDS)


def count_text(jobs: int | None, most: int = MOST) -> str:
    """Return a count in words. None: not known."""
    return "–" if jobs is None else number(jobs) if jobs <= most else f"{number(most)}+"


def retry_labels(failed: Mapping[int, int]) -> Mapping[int, str]:
    """Return the label of each group's retry button, by id, without groups that have no jobs to retry.

    Args:
        failed: How many jobs of each group failed in the span. Decides if jobs cannot be counted.
    """
    ids: Sequence[int] = sorted(failed)
    if not ids:
        return {}
    look = partial(part, lambda conn: failed_of(conn, ids, most=MOST_OF_EACH + 1, queues=caller().queues))
    counts = kept("jobs of failures", tuple(ids), look, seconds=SECONDS).value
    if counts is None:
        return {name: "Retry…" for name, attempts in failed.items() if attempts}
    return {name: f"Retry {count_text(jobs, MOST_OF_EACH)}…" for name, jobs in counts.items() if jobs}
