"""What of a queue runs next: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.domain.job import NewJob
from haulier.postgres.sql_files import SQL
from haulier.queue import jobs as job_acts
from haulier.queue.stories.upcoming import upcoming
from tests import queueing
from tests.conftest import Sql


def put(conn: Connection, priority: int = 0, *, due_in: float = -1.0, queue: str = "mail") -> UUID:
    """Return the id of a new job. Units: due_in is in seconds."""
    new = NewJob("mail", {}, queue=queue, priority=priority)
    [made] = queueing.enqueue(conn, [new])
    assert made.job is not None
    with conn.cursor() as cursor:
        due = datetime.now(UTC) + timedelta(seconds=due_in)
        cursor.execute("UPDATE haulier.job SET run_at = %s WHERE id = %s", (due, made.job.id))
    return made.job.id


def test_has_due_jobs_by_priority_and_the_others_as_they_become_due(conn: Connection) -> None:
    later, low, lower = put(conn, 9, due_in=60), put(conn, due_in=-5), put(conn, due_in=-4)
    soon, high = put(conn, due_in=30), put(conn, 5, due_in=-1)
    put(conn, 9, queue="other")

    found = upcoming(conn, "mail")

    assert [job.id for job in found.jobs] == [high, low, lower, soon, later]
    assert [(lane.priority, lane.id) for lane in found.lanes] == [(9, later), (5, high), (0, low)]


def test_ends_at_the_limit_and_keeps_the_first_of_each_lane(conn: Connection) -> None:
    jobs = [put(conn, due_in=-10 + number) for number in range(5)]
    last = put(conn, -1, due_in=-20)

    found = upcoming(conn, "mail", limit=3)

    assert [job.id for job in found.jobs] == jobs[:3]
    assert [lane.id for lane in found.lanes] == [jobs[0], last]


def test_leaves_out_what_runs_alone_and_what_runs(conn: Connection, sql: Sql) -> None:
    crashed, ended = put(conn), put(conn)
    sql("UPDATE haulier.job SET crashes = 1 WHERE id = %s", crashed)
    job_acts.cancel(conn, ended)

    assert upcoming(conn, "mail") == upcoming(conn, "nowhere")
    assert upcoming(conn, "mail").jobs == []


def test_walks_the_index_of_claims_however_many_wait(conn: Connection, sql: Sql) -> None:
    queueing.enqueue(conn, [NewJob("mail", {}, queue="mail", priority=number % 3) for number in range(900)])
    sql("ANALYZE haulier.job")
    sent = {"queue": "mail", "suspect": False, "limit": 20, "most": 50, "look": 1.0}

    with conn.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {SQL['next_jobs']}", sent)
        [([found],)] = cursor.fetchall()

    assert set(read_by(found["Plan"])) == {"job_claim"}
    assert len(upcoming(conn, "mail", limit=20).jobs) == 20


def read_by(node: Any) -> Iterator[str]:
    """Yield by which index the plan reads jobs; "" by none."""
    if node.get("Relation Name") == "job":
        yield node.get("Index Name", "")
    for each in node.get("Plans", ()):
        yield from read_by(each)
