"""Large requests wait for each other, and small ones do not wait for them. It ..."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import requests
from psycopg2.extensions import connection as Connection

from app.http.gunicorn.large import MOST_BYTES, WAIT_SECONDS, Large
from haulier.postgres.connection import connect
from tests.web import gunicorn

JOB = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "x" * 1000}}
LINE = json.dumps(JOB) + "\n"


def test_lets_so_many_work_and_the_others_follow_in_order():
    large = Large(2)

    began = [large.enter(name, 1, 0.0) for name in "abcd"]

    assert began == [True, True, False, False]
    assert [large.leave("b"), large.leave("x"), large.leave("a"), large.leave("c"), large.leave("d")] == [
        "c", None, "d", None, None,
    ]  # fmt: skip
    assert large.enter("e", 1, 0.0)


def test_has_room_for_one_at_work_however_large_and_for_so_many_bytes_of_those_that_wait():
    large = Large(1)
    assert large.has_room(2 * MOST_BYTES)
    large.enter("a", 2 * MOST_BYTES, 0.0)

    large.enter("b", MOST_BYTES - 1, 0.0)

    assert large.has_room(1)
    assert not large.has_room(2)
    large.leave("a")
    assert large.has_room(2)


def test_gives_up_those_that_have_waited_for_too_long():
    large = Large(1)
    for name, now in zip("abc", [0.0, 0.0, 5.0], strict=True):
        large.enter(name, MOST_BYTES // 2, now)

    assert large.overdue(WAIT_SECONDS - 1) == []
    assert large.overdue(WAIT_SECONDS) == ["b"]
    assert large.has_room(MOST_BYTES // 2)
    assert large.leave("a") == "c"


@pytest.mark.parametrize(
    ("threads", "jobs"),
    [
        pytest.param("2", 1000, id="2 threads, in many"),
        pytest.param("4", 90, id="4 threads, in one piece"),
        pytest.param("2", 90, id="2 threads, in one piece", marks=pytest.mark.slow),
        pytest.param("4", 1000, id="4 threads, in many", marks=pytest.mark.slow),
    ],
)
def test_small_requests_are_answered_while_large_ones_wait(
    database: str,
    direct: Callable[[str], str],
    conn: Connection,
    eventually: Callable[..., Any],
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
