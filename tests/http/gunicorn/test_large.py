"""Large requests wait for each other, and small ones do not wait for them. It ..."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from psycopg2.extensions import connection as Connection

from app.http.gunicorn.large import MOST_BYTES, WAIT_SECONDS, Large
from haulier.postgres.connection import connect
from tests.conftest import eventually
from tests.web import gunicorn

JOB = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "x" * 1000}}
LINE = json.dumps(JOB) + "\n"


def started(large: Large, *sizes: int) -> list[str]:
    """Add requests a, b, c, … of these sizes, each at most 100 long, and return those whose turn it is."""
    assert all(large.add(name, size, 100, 0.0) for name, size in zip("abcdef", sizes, strict=False))
    return large.start()


def followers(large: Large, *left: str) -> list[list[str]]:
    """Return who starts after each of these has left."""
    found = []
    for conn in left:
        large.leave(conn)
        found.append(large.start())
    return found


def test_large_requests_take_their_threads_and_the_others_follow_in_order():
    large = Large(2)

    assert started(large, 1, 1, 1, 1) == ["a", "b"]
    assert followers(large, "b", "x", "a", "c", "d") == [["c"], [], ["d"], [], []]


def test_those_at_work_are_together_no_longer_than_the_longest_request():
    large = Large(9)

    assert started(large, 40, 60, 1, 90, 10, 5) == ["a", "b"]
    # No small one overtakes the fourth.
    assert followers(large, "a", "b", "c", "d") == [["c"], ["d"], ["e"], ["f"]]

    # One that is longer than any may be works alone.
    large = Large(9)
    assert started(large, 101, 1) == ["a"]
    assert followers(large, "a") == [["b"]]


def test_a_batch_counts_by_the_longest_batch_a_job_by_the_longest_job():
    large = Large(9)

    for name, longest in (("batch", 1600), ("job", 100), ("late", 100)):
        large.add(name, 50, longest, 0.0)

    assert large.start() == ["batch", "job"]


def test_has_room_for_one_however_large_and_bounds_those_that_wait():
    large = Large(1)
    assert large.add("a", 2 * MOST_BYTES, 1, 0.0)
    assert large.start() == ["a"]

    assert large.add("b", MOST_BYTES - 1, 1, 0.0)

    assert not large.add("c", 2, 1, 0.0)
    assert large.add("d", 1, 1, 0.0)
    assert followers(large, "a") == [["b"]]
    assert large.add("e", 2, 1, 0.0)


def test_gives_up_those_that_have_waited_for_too_long():
    large = Large(1)
    assert started(large, 1) == ["a"]
    for name, now in (("b", 0.0), ("c", 5.0)):
        assert large.add(name, MOST_BYTES // 2, MOST_BYTES, now)
    assert not large.add("d", 1, MOST_BYTES, 5.0)

    assert large.overdue(WAIT_SECONDS - 1) == []
    assert large.overdue(WAIT_SECONDS) == ["b"]
    assert followers(large, "a") == [["c"]]


@pytest.mark.parametrize(
    ("threads", "jobs"),
    [pytest.param("2", 1000, id="2 threads, in many"), pytest.param("4", 90, id="4 threads, in one piece")],
)
def test_small_requests_are_answered_while_large_ones_wait(
    database: str,
    direct: Callable[[str], str],
    conn: Connection,
    threads: str,
    jobs: int,
):
    def is_waited_for() -> bool:
        with conn.cursor() as cursor:
            cursor.execute("SELECT FROM pg_locks WHERE NOT granted AND relation = 'haulier.job'::regclass")
            return bool(cursor.fetchall())

    with (
        gunicorn(database, eventually, WEB_THREADS=threads, WEB_CONCURRENCY="1") as server,
        closing(connect(direct(database))) as holder,
        ThreadPoolExecutor(6) as senders,
    ):
        with holder.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE haulier.job IN EXCLUSIVE MODE")
            headers = {"Content-Type": "application/x-ndjson"}
            sent = [
                senders.submit(requests.post, f"{server.url}/jobs/batch", data=LINE * jobs, headers=headers, timeout=30)
                for _ in range(6)
            ]
            eventually(is_waited_for)

            small = requests.get(f"{server.url}/health/live", timeout=2)

            cursor.execute("COMMIT")
        assert small.status_code == 200
        assert {each.result().status_code for each in sent} <= {201, 503}
        assert 201 in {each.result().status_code for each in sent}
