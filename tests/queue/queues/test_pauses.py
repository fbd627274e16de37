"""Pauses: who paused which queue until when is on record, and what nobody can mean is refused. It ..."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest

from haulier.domain.errors import TooManyPauses
from haulier.domain.job import JobStatus, NewJob
from haulier.queue import claims
from haulier.queue.health import overview
from haulier.queue.health.overview import has_unserved
from haulier.queue.queues.pauses import pause, resume
from tests import queueing

RECORD = "SELECT actor, action, target, details FROM haulier.audit ORDER BY id"
PAUSES = "SELECT queue, until FROM haulier.pause ORDER BY queue"


@pytest.fixture
def now(sql):
    [[now]] = sql("SELECT now()")
    return now


def test_is_recorded_with_its_end_and_so_is_the_resume(conn, sql, now):
    until = now + timedelta(hours=1)
    pause(conn, "bulk", actor="abc")
    pause(conn, "bulk", until=until, actor="env")
    resume(conn, "bulk", actor="abc")

    [first, second, third] = sql(RECORD)

    assert first == ("abc", "pause", "bulk", {"until": None})
    assert second[:3] == ("env", "pause", "bulk")
    assert datetime.fromisoformat(second[3]["until"]) == until
    assert third == ("abc", "resume", "bulk", None)
    assert sql(PAUSES) == []


def test_what_changes_nothing_is_not_recorded(conn, sql, now):
    until = now + timedelta(hours=1)
    resume(conn, "bulk")
    for _ in range(3):
        pause(conn, "bulk", until=until)

    assert len(sql(RECORD)) == 1
    sql("UPDATE haulier.pause SET until = now() - interval '1 s'")
    resume(conn, "bulk")
    assert len(sql(RECORD)) == 1


def test_a_new_end_leaves_since_as_it_was_unless_the_pause_had_ended(conn, sql, now):
    pause(conn, "bulk")
    sql("UPDATE haulier.pause SET since = since - interval '2 h'")

    def since():
        [[hours]] = sql("SELECT round(extract(epoch FROM now() - since) / 3600) FROM haulier.pause")
        return hours

    pause(conn, "bulk", until=now + timedelta(hours=1))
    assert since() == 2
    sql("UPDATE haulier.pause SET until = now() - interval '1 h'")
    pause(conn, "bulk")
    assert since() == 0


def test_the_next_pause_of_any_queue_forgets_those_that_have_ended(conn, sql, now):
    pause(conn, "bulk", until=now + timedelta(hours=1))
    sql("UPDATE haulier.pause SET until = now() - interval '1 s'")

    pause(conn, "mail")

    assert sql(PAUSES) == [("mail", None)]


def test_a_thousand_queues_may_be_paused_and_no_more(conn, sql, now):
    sql("INSERT INTO haulier.pause (queue) SELECT 'q' || n FROM generate_series(1, 999) AS n")
    sql("INSERT INTO haulier.pause (queue, until) VALUES ('over', now() - interval '1 s')")

    pause(conn, "mail")
    with pytest.raises(TooManyPauses):
        pause(conn, "bulk")
    pause(conn, "mail", until=now + timedelta(hours=1))
    resume(conn, "q7")
    pause(conn, "bulk")


def test_pauses_and_resumes_at_once_neither_deadlock_nor_lose_a_record(open_conn, sql):
    conns, barrier = [open_conn() for _ in range(6)], Barrier(6)
    sql(
        "INSERT INTO haulier.pause (queue, until)"
        " SELECT 'q' || n, now() - interval '1 s' FROM generate_series(0, 9) AS n"
    )

    def act(number: int) -> None:
        chance = random.Random(number)
        barrier.wait()
        for _ in range(40):
            (pause if chance.random() < 0.6 else resume)(conns[number], f"q{chance.randrange(10)}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(act, range(6)))

    left = {queue for queue, _ in sql(PAUSES)}
    for number in range(10):
        acts = [action for _, action, target, _ in sql(RECORD) if target == f"q{number}"]
        # Each changed what the one before it had left.
        assert acts == ["pause", "resume"] * (len(acts) // 2) + ["pause"] * (len(acts) % 2)
        assert (f"q{number}" in left) == bool(len(acts) % 2)


# What others say of its jobs


@pytest.mark.parametrize("is_counted", [False, True])
def test_its_due_jobs_are_neither_late_nor_unserved(conn, sql, is_counted):
    queueing.enqueue(conn, [NewJob("mail", {}, queue=queue) for queue in ("bulk", "bulk", "mail")])
    sql("UPDATE haulier.job SET run_at = now() - interval '1 h'")
    claims.register(conn, host="dock", pid=7, threads=8, queues=("other",), lease_seconds=60)
    if is_counted:
        sql("INSERT INTO haulier.counting (through, folded, recounted, depth_at) VALUES (now(), now(), now(), now())")
        sql(
            "INSERT INTO haulier.depth SELECT queue, kind, status, count(*), count(*), min(run_at)"
            " FROM haulier.job GROUP BY 1, 2, 3"
        )

    def depths():
        found = overview.overview(conn, as_counted=is_counted).depths
        assert {depth.status for depth in found} == {JobStatus.QUEUED}
        return {depth.queue: (depth.jobs, depth.unserved, depth.oldest_due_seconds is not None) for depth in found}

    assert depths() == {"bulk": (2, 2, True), "mail": (1, 1, True)}
    pause(conn, "bulk")
    assert depths() == {"bulk": (2, 0, False), "mail": (1, 1, True)}
    assert overview.overview(conn).paused_queues == 1
    assert has_unserved(conn)
    pause(conn, "mail")
    assert not has_unserved(conn)
