"""How many jobs of a group of errors there are: what can be retried, which no count of failed attempts tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from haulier.domain.text import number
from haulier.postgres.statements import Connection
from haulier.queue.produce.errors import MOST_COUNTED, failed_of, jobs_of_error

from ..http.door import caller
from .reading import Part, kept, part
from .totals import Counted

# So many jobs of a group are counted, so many of each in a list; and for how long that is good enough.
MOST, MOST_OF_EACH, SECONDS = MOST_COUNTED - 1, 2_000, 5.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The jobs of a group: those that have failed for good, those to be retried, and whether the first is kept."""

    ended: Counted
    waiting: Counted
    is_first_kept: bool


def counts_of(error_id: int) -> Part[Counts]:
    """Return the counts of a group."""

    def look(conn: Connection) -> Counts:
        found = jobs_of_error(conn, error_id, queues=caller().queues)
        failed, retrying = (Counted(min(each, MOST), each <= MOST) for each in (found.failed, found.retrying))
        return Counts(failed, retrying, found.is_first_kept)

    return kept("counts of failure", (error_id,), partial(part, look), seconds=SECONDS)


def retry_labels(failed: Mapping[int, int]) -> Mapping[int, str]:
    """Return what stands on the buttons of groups, by their ids: those of which jobs can be retried.

    Shape: given is how many attempts of each failed for good in a span: where the jobs cannot be counted that decides.
    """
    ids: Sequence[int] = sorted(failed)
    if not ids:
        return {}
    look = partial(part, lambda conn: failed_of(conn, ids, most=MOST_OF_EACH + 1, queues=caller().queues))
    counts = kept("jobs of failures", tuple(ids), look, seconds=SECONDS).value
    if counts is None:
        return {name: "Retry…" for name, attempts in failed.items() if attempts}
    over = f"Retry more than {number(MOST_OF_EACH)}…"
    return {name: f"Retry {number(jobs)}…" if jobs <= MOST_OF_EACH else over for name, jobs in counts.items() if jobs}
