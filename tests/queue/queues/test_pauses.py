"""Pauses: on record, no claim takes a job of a paused queue, and looks for lanes say when one may. It ..."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import ClaimRequest
from haulier.domain.errors import TooManyPauses
from haulier.domain.job import JobStatus, NewJob
from haulier.queue import claims
from haulier.queue.claims.claim import claim_next, has_next
from haulier.queue.health import overview
from haulier.queue.health.overview import has_unserved
from haulier.queue.queues.pauses import pause, resume
from tests import queueing

HOUR = timedelta(hours=1)
RECORD = "SELECT actor, action, target, details FROM haulier.audit ORDER BY id"
PAUSES = "SELECT queue, until FROM haulier.pause ORDER BY queue"


@pytest.fixture
def now(sql):
    [[now]] = sql("SELECT now()")
    return now


def test_what_changes_nothing_is_not_recorded(conn, sql, now):
    until = now + HOUR
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

    pause(conn, "bulk", until=now + HOUR)
    assert since() == 2
    sql("UPDATE haulier.pause SET until = now() - interval '1 h'")
    pause(conn, "bulk")
    assert since() == 0


def test_the_next_pause_of_any_queue_forgets_those_that_have_ended(conn, sql, now):
    pause(conn, "bulk", until=now + HOUR)
    sql("UPDATE haulier.pause SET until = now() - interval '1 s'")

    pause(conn, "mail")

    assert sql(PAUSES) == [("mail", None)]


def test_a_thousand_queues_may_be_paused_and_no_more(conn, sql, now):
    sql("INSERT INTO haulier.pause (queue) SELECT 'q' || n FROM generate_series(1, 999) AS n")
    sql("INSERT INTO haulier.pause (queue, until) VALUES ('over', now() - interval '1 s')")

    pause(conn, "mail")
    with pytest.raises(TooManyPauses):
        pause(conn, "bulk")
    pause(conn, "mail", until=now + HOUR)
    resume(conn, "q7")
    pause(conn, "bulk")


def test_pauses_and_resumes_at_once_neither_deadlock_nor_lose_a_record(at_once, sql):
    sql(
        "INSERT INTO haulier.pause (queue, until)"
        " SELECT 'q' || n, now() - interval '1 s' FROM generate_series(0, 9) AS n"
    )

    def act(number: int, mine: Connection) -> None:
        chance = random.Random(number)
        for _ in range(40):
            (pause if chance.random() < 0.6 else resume)(mine, f"q{chance.randrange(10)}")

    assert at_once(6, act) == [None] * 6

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


# --- Claims


def enqueue(conn, *queues: str, **options) -> None:
    queueing.enqueue(conn, [NewJob("mail", {}, queue=queue, **options) for queue in queues])


def claimed(conn, worker, *, suspect: bool = False) -> list[str]:
    """Claim from every lane that there is, whatever the looks say of it, and return the queues of the jobs."""
    marks = [lane.head for lane in claims.lanes(conn, queues=(), suspect=suspect)]
    request = ClaimRequest(worker, uuid4(), marks, 50, 50, suspect)
    _, found = claims.settle_and_claim(conn, [], request)
    return sorted(job.queue for job in found.jobs)


def test_a_claim_takes_nothing_of_it_and_everything_of_the_others(conn, sql, worker):
    enqueue(conn, "bulk", "mail", "bulk", "mail")
    pause(conn, "bulk")

    assert claimed(conn, worker) == ["mail", "mail"]
    assert claimed(conn, worker) == []
    resume(conn, "bulk")
    assert claimed(conn, worker) == ["bulk", "bulk"]
    enqueue(conn, "bulk", "mail")
    sql("UPDATE haulier.job SET crashes = 1, suspect = true WHERE status = 'queued'")
    pause(conn, "bulk")
    assert claimed(conn, worker, suspect=True) == ["mail"]


def test_a_claim_of_one_job_skips_it(conn, worker):
    enqueue(conn, "bulk")
    request = ClaimRequest(worker, uuid4(), [lane.head for lane in claims.lanes(conn, queues=())], 1, 1)
    pause(conn, "bulk")

    assert not has_next(conn, request)
    assert claim_next(conn, request).jobs == []
    resume(conn, "bulk")
    assert len(claim_next(conn, request).jobs) == 1


def test_a_look_at_the_lanes_says_when_a_claim_may_take_from_each(conn, now):
    enqueue(conn, "bulk", "mail")
    enqueue(conn, "bulk", priority=1, delay=2 * HOUR)
    after_an_hour = {("bulk", 0): pytest.approx(3600, abs=60), ("bulk", 1): pytest.approx(7200, abs=60)}

    for queues in ((), ("bulk", "mail")):

        def seconds(queues=queues):
            return {lane.head.lane: lane.seconds for lane in claims.lanes(conn, queues=queues)}

        pause(conn, "bulk")
        without_end = seconds()
        pause(conn, "bulk", until=now + HOUR)
        for_an_hour = seconds()
        heads = {lane.head.lane: lane.seconds for lane in claims.heads(conn, list(after_an_hour))}

        assert without_end.pop(("mail", 0)) <= 0
        assert without_end == dict.fromkeys(after_an_hour, math.inf)
        assert for_an_hour.pop(("mail", 0)) <= 0
        assert for_an_hour == after_an_hour
        assert heads == after_an_hour
        resume(conn, "bulk")


def test_a_look_at_new_jobs_skips_its_lanes_until_soon_before_its_end(conn, now):
    enqueue(conn, "bulk", "mail")

    def seen(soon: float) -> dict[str, float]:
        return {lane.head.queue: lane.seconds for lane in claims.fresh_lanes(conn, seconds=10, soon_seconds=soon)}

    pause(conn, "bulk")
    assert seen(300).keys() == {"mail"}
    pause(conn, "bulk", until=now + timedelta(seconds=60))
    assert 0 < seen(300)["bulk"] <= 60
    assert seen(10).keys() == {"mail"}


def test_a_pause_ends_by_itself(conn, sql, now, worker):
    enqueue(conn, "bulk", "mail")
    pause(conn, "bulk", until=now + HOUR)
    pause(conn, "mail", until=now + 3 * HOUR)

    sql("UPDATE haulier.pause SET since = since - interval '2 h', until = until - interval '2 h'")

    may_start = {lane.head.queue: lane.seconds <= 0 for lane in claims.lanes(conn, queues=())}
    assert may_start == {"bulk": True, "mail": False}
    assert claimed(conn, worker) == ["bulk"]


def test_no_claim_that_begins_after_the_answer_takes_a_job(at_once, conn):
    workers = [claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60) for _ in range(4)]
    enqueue(conn, *["bulk"] * 2000)
    marks, is_paused = [lane.head for lane in claims.lanes(conn, queues=())], [False]

    def drain_or_pause(number: int, own: Connection) -> int:
        if number == 4:
            pause(own, "bulk")
            is_paused[0] = True
            return 0
        before, after = 0, 0
        while after < 5:
            is_late = is_paused[0]
            _, found = claims.settle_and_claim(own, [], ClaimRequest(workers[number], uuid4(), marks, 3, 3))
            assert not (is_late and found.jobs), "claimed after the pause was answered"
            before += len(found.jobs)
            after += is_late
        return before

    before = at_once(5, drain_or_pause)

    assert [each for each in before if isinstance(each, Exception)] == []
    assert claims.lanes(conn, queues=())
    assert sum(before) < 2000
