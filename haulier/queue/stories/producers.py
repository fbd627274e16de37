"""Where the due jobs of a queue come from: their API keys, tags and kinds, of as many jobs as are cheap to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulier.postgres.statements import Connection, rows
from haulier.queue.stories.upcoming import LOOK_SECONDS, MOST_LANES

# Read at most this many jobs, look up the API keys of at most this many, and return this many names of each sort.
MOST_JOBS, MOST_LOOKED_UP, MOST_NAMES = 10_000, 100, 5
KEY, TAG, KIND = "API key", "tag", "kind"


@dataclass(frozen=True, slots=True)
class Producer:
    """What some of the jobs have in common: `what` is KEY, TAG or KIND, and `name` a key's id, a tag or a kind.

    The name is "" for those that have none. `share` is their share of the jobs that were looked at, from 0 to 1.
    """

    what: str
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Producers:
    """The producers of the first `jobs` due jobs, largest share first. API keys are known of `looked_up` of them."""

    jobs: int
    looked_up: int
    found: Sequence[Producer]

    @property
    def is_part(self) -> bool:
        """Return whether more jobs may be due."""
        return self.jobs >= MOST_JOBS


def count_producers(conn: Connection, queue: str) -> Producers:
    """Return the most frequent API keys, tags and kinds of the first MOST_JOBS due jobs; not of jobs that run alone."""
    counted = rows(
        conn,
        "count_producers",
        queue=queue,
        suspect=False,
        limit=MOST_NAMES,
        most=MOST_LANES,
        look=LOOK_SECONDS,
        most_rows=MOST_JOBS,
        sample=MOST_LOOKED_UP,
    )
    totals = {row["what"]: row["jobs"] for row in counted if row["name"] is None}
    found = [
        Producer(row["what"], row["name"], row["jobs"] / totals["looked up" if row["what"] == KEY else "all"])
        for row in counted
        if row["name"] is not None and row["jobs"]
    ]
    return Producers(totals["all"], totals["looked up"], sorted(found, key=lambda each: -each.share))
