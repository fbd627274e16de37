"""Histories of a day, made in one statement, and what the numbers say of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.queue.numbers import counts
from tests.conftest import sql_on
from tests.queue.plans import ended

DAY = 86_400
STATUSES = ("queued", "succeeded", "failed_permanent", "cancelled")
LIVE = """
    INSERT INTO haulier.job (kind, queue, payload, created_at, run_at)
    SELECT kind, queue, '{}', now() - make_interval(secs => ago), now() - make_interval(secs => ago)
    FROM unnest(%s::text[], %s::text[], %s::float[]) AS job (queue, kind, ago)
"""
ENDED = ended(
    "unnest(%s::text[], %s::text[], %s::text[], %s::float[], %s::float[], %s::float[], %s::integer[])"
    " AS job (queue, kind, status, ago, waited, ran, attempts)"
    " CROSS JOIN LATERAL (SELECT now() - make_interval(secs => ago) AS at) AS end_of_it",
    **{name: name for name in ("queue", "kind", "status", "attempts")},
    **dict.fromkeys(("run_at", "created_at"), "at - make_interval(secs => waited + ran)"),
    **dict.fromkeys(("updated_at", "finished_at"), "at"),
    id="gen_random_uuid()",
    started_at="at - make_interval(secs => ran)",
)
IN_TABLES = """
    SELECT queue, kind, count(*) AS arrived, count(*) FILTER (WHERE status = 'succeeded'),
        count(*) FILTER (WHERE status = 'failed_permanent'), count(*) FILTER (WHERE status = 'cancelled'),
        coalesce(sum(attempts) FILTER (WHERE finished_at IS NOT NULL), 0)
    FROM haulier.jobs GROUP BY queue, kind
"""
IN_NUMBERS = """
    SELECT queue, kind, sum(arrived), sum(succeeded), sum(failed), sum(cancelled), sum(attempts)
    FROM haulier.rollup GROUP BY queue, kind HAVING sum(arrived + succeeded + failed + cancelled) > 0
"""


class Made(NamedTuple):
    """One job. Units: seconds; ago is when it ended, or came if it has not."""

    queue: str
    kind: str
    status: str
    ago: float
    waited: float = 0.0
    ran: float = 0.0
    attempts: int = 1


def drawn(chance: random.Random, most_ago: float = 0.9 * DAY) -> Made:
    """Return a job at a random time of the last day; every second one lately."""
    ago = chance.uniform(0, most_ago) if chance.random() < 0.5 else chance.uniform(0, 400)
    return Made(
        chance.choice(["default", "mail", "bulk"]),
        chance.choice(["mail", "hook"]),
        chance.choice(STATUSES),
        ago,
        min(10 ** chance.uniform(-5, 3), most_ago / 10),
        10 ** chance.uniform(-5, 3),
        chance.randint(0, 5),
    )


def store(conn: Connection, jobs: Iterable[Made]) -> None:
    """Write the jobs as if they had come and ended at their times."""
    jobs = list(jobs)
    live = [job for job in jobs if job.status == "queued"]
    ended = [job for job in jobs if job.status != "queued"]
    sql = sql_on(conn)
    sql(LIVE, *([job[place] for job in live] for place in (0, 1, 3)))
    sql(ENDED, *([job[place] for job in ended] for place in range(7)))


def in_tables(conn: Connection) -> set[tuple[Any, ...]]:
    return set(sql_on(conn)(IN_TABLES))


def in_numbers(conn: Connection) -> set[tuple[Any, ...]]:
    return set(sql_on(conn)(IN_NUMBERS))


def begin(conn: Connection) -> UUID:
    counts.counting_ends_in(conn)
    return uuid4()


def count_all(conn: Connection, counter: UUID, *, most_seconds: int = counts.MOST_SECONDS) -> None:
    """Count until nothing is left to count."""
    while (counted := counts.count(conn, counter=counter, most_seconds=most_seconds)) and counted.is_behind:
        pass
    assert counted
