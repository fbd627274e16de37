"""A paused queue: no claim takes a job of it, and looks for lanes say when one may. It ..."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID, uuid4

import pytest

from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue.claims.claim import claim_next, has_next
from haulier.queue.queues.pauses import pause, resume
from tests import queueing

HOUR = timedelta(hours=1)


@pytest.fixture
def worker(conn) -> UUID:
    return claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)


@pytest.fixture
def until(sql):
    """Give a function that says what the database's clock will show in a while."""

    def until(**units: float):
        [[now]] = sql("SELECT now()")
        return now + timedelta(**units)

    return until


def enqueue(conn, *queues: str, **options) -> None:
    queueing.enqueue(conn, [NewJob("mail", {}, queue=queue, **options) for queue in queues])


def claimed(conn, worker, *, suspect: bool = False) -> list[str]:
    """Claim from every lane that there is, whatever the looks say of it, and return the queues of the jobs."""
    marks = [lane.head for lane in claims.lanes(conn, queues=(), suspect=suspect)]
    request = ClaimRequest(worker, uuid4(), marks, 50, 50, suspect)
    _, found = claims.settle_and_claim(conn, [], request)
    return sorted(job.queue for job in found.jobs)


def test_a_claim_takes_nothing_of_it_and_everything_of_the_others(conn, worker):
    enqueue(conn, "bulk", "mail", "bulk", "mail")
    pause(conn, "bulk")

    assert claimed(conn, worker) == ["mail", "mail"]
    assert claimed(conn, worker) == []
    resume(conn, "bulk")
    assert claimed(conn, worker) == ["bulk", "bulk"]


def test_a_job_that_has_crashed_before_waits_as_well(conn, sql, worker):
    enqueue(conn, "bulk", "mail")
    sql("UPDATE haulier.job SET crashes = 1")
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


def test_what_runs_goes_on_and_settles(conn, worker):
    enqueue(conn, "bulk")
    [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())

    pause(conn, "bulk")

    settlement = Settlement(Fence.of(job), Outcome.complete(None))
    assert claims.settle(conn, [settlement]) == {job.id: "succeeded"}


def test_a_look_at_the_lanes_says_when_a_claim_may_take_from_each(conn, until):
    enqueue(conn, "bulk", "mail")
    enqueue(conn, "bulk", priority=1, delay=2 * HOUR)
    after_an_hour = {("bulk", 0): pytest.approx(3600, abs=60), ("bulk", 1): pytest.approx(7200, abs=60)}

    for queues in ((), ("bulk", "mail")):

        def seconds(queues=queues):
            return {lane.head.lane: lane.seconds for lane in claims.lanes(conn, queues=queues)}

        pause(conn, "bulk")
        without_end = seconds()
        pause(conn, "bulk", until=until(hours=1))
        for_an_hour = seconds()
        heads = {lane.head.lane: lane.seconds for lane in claims.heads(conn, list(after_an_hour))}

        assert without_end.pop(("mail", 0)) <= 0
        assert without_end == dict.fromkeys(after_an_hour, math.inf)
        assert for_an_hour.pop(("mail", 0)) <= 0
        assert for_an_hour == after_an_hour
        assert heads == after_an_hour
        resume(conn, "bulk")


def test_a_look_at_new_jobs_leaves_its_lanes_out(conn):
    enqueue(conn, "bulk", "mail")
    pause(conn, "bulk")

    assert [lane.head.lane for lane in claims.fresh_lanes(conn, seconds=10, soon_seconds=10)] == [("mail", 0)]


def test_a_look_at_new_jobs_says_when_its_pause_ends(conn, until):
    enqueue(conn, "bulk")
    pause(conn, "bulk", until=until(seconds=60))

    [lane] = claims.fresh_lanes(conn, seconds=10, soon_seconds=300)

    assert 0 < lane.seconds <= 60
    assert claims.fresh_lanes(conn, seconds=10, soon_seconds=10) == []


def test_nothing_is_said_to_be_due_in_it_before_its_end(conn, until):
    enqueue(conn, "bulk")

    pause(conn, "bulk")
    assert queueing.seconds_until_due(conn, queues=()) is None
    pause(conn, "bulk", until=until(hours=1))
    assert queueing.seconds_until_due(conn, queues=()) == pytest.approx(3600, abs=60)


def test_a_pause_ends_by_itself(conn, sql, until, worker):
    enqueue(conn, "bulk", "mail")
    pause(conn, "bulk", until=until(hours=1))
    pause(conn, "mail", until=until(hours=3))

    sql("UPDATE haulier.pause SET since = since - interval '2 h', until = until - interval '2 h'")

    assert {lane.head.queue: lane.seconds <= 0 for lane in claims.lanes(conn, queues=())} == {
        "bulk": True,
        "mail": False,
    }
    assert claimed(conn, worker) == ["bulk"]


def test_no_claim_that_begins_after_the_answer_takes_a_job(open_conn, conn):
    workers = [claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60) for _ in range(4)]
    conns = [open_conn() for _ in workers]
    is_paused, barrier = [False], Barrier(5)

    def drain(worker: UUID, own) -> tuple[int, int]:
        marks = [lane.head for lane in claims.lanes(own, queues=())]
        before, after = 0, 0
        barrier.wait()
        while after < 5:
            is_late = is_paused[0]
            _, found = claims.settle_and_claim(own, [], ClaimRequest(worker, uuid4(), marks, 3, 3))
            assert not (is_late and found.jobs), "claimed after the pause was answered"
            before += len(found.jobs)
            after += is_late
        return before, after

    enqueue(conn, *["bulk"] * 2000)
    with ThreadPoolExecutor(4) as pool:
        draining = [pool.submit(drain, *each) for each in zip(workers, conns, strict=True)]
        barrier.wait()
        pause(conn, "bulk")
        is_paused[0] = True
        before = sum(each.result()[0] for each in draining)

    assert claims.lanes(conn, queues=())
    assert before < 2000
