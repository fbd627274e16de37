"""Claim: it ..."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from uuid import RFC_4122, uuid4

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.health import overview
from tests import queueing
from tests.conftest import eventually


def test_hands_over_a_running_job_with_this_attempt_counted(claim, enqueue, worker, conn):
    enqueued = enqueue()

    job = claim()

    assert job.id == enqueued.id
    assert (job.status, job.worker_id) == (JobStatus.RUNNING, worker)
    assert (job.attempts, job.attempt) == (1, 1)
    assert job.claim is not None
    assert job.started_at == job.updated_at
    assert job.started_at >= job.created_at
    assert search.get(conn, job.id).read() == job
    assert claim() is None


def test_leaves_a_job_that_is_not_due(claim, enqueue, make_due):
    job = enqueue(delay=timedelta(hours=1))

    early = claim()
    make_due(job)
    late = claim()

    assert early is None
    assert late.id == job.id


def test_takes_the_highest_priority_first_whatever_its_queue(claim, enqueue):
    low = enqueue(priority=-100)
    middle = enqueue(priority=0, queue="zebra")
    high = enqueue(priority=100, queue="mail")

    claimed = [claim().id for _ in range(3)]

    assert claimed == [high.id, middle.id, low.id]


def test_takes_the_longest_due_first_within_a_priority(claim, enqueue, sql):
    jobs = [enqueue(payload={"n": n}) for n in range(3)]
    for age, job in zip((2, 3, 1), jobs, strict=True):
        sql("UPDATE haulier.job SET run_at = now() - make_interval(hours => %s) WHERE id = %s", age, job.id)

    claimed = [claim().payload["n"] for _ in range(3)]

    assert claimed == [1, 0, 2]


def test_is_fair_between_the_queues_of_one_priority(claim, enqueue, sql):
    for n in range(6):
        job = enqueue(queue="busy" if n % 2 else "calm", payload={"n": n})
        sql("UPDATE haulier.job SET run_at = now() - make_interval(mins => %s) WHERE id = %s", 60 - n, job.id)

    claimed = [claim().queue for _ in range(6)]

    assert claimed == ["calm", "busy"] * 3


def test_does_not_let_a_flood_in_one_queue_starve_another(claim, conn, enqueue):
    queueing.enqueue(conn, [NewJob("mail", {}, queue="a.flood") for _ in range(200)])
    enqueue(queue="z.trickle")

    flood = Counter(claim().queue for _ in range(201))

    assert flood == {"a.flood": 200, "z.trickle": 1}


def test_takes_only_from_the_named_queues(claim, enqueue):
    enqueue(queue="bulk", priority=50)
    mail, image = enqueue(queue="mail"), enqueue(queue="image")

    claimed = [claim(queues=("mail", "image")), claim(queues=("image", "mail")), claim(queues=("mail", "image"))]

    assert [job and job.id for job in claimed] == [mail.id, image.id, None]


def test_takes_several_up_to_the_limit_the_best_ones(conn, worker, enqueue):
    for n in range(10):
        enqueue(priority=n, queue=f"q{n % 3}", payload={"n": n})

    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=4)

    assert sorted(job.payload["n"] for job in jobs) == [6, 7, 8, 9]
    assert len({job.claim for job in jobs}) == 1


def test_takes_a_retrying_job_once_it_is_due(claim, running, settle, make_due):
    job = running()
    settle(job, Outcome.fail("no luck", delay=60))

    early = claim()
    make_due(job)
    again = claim()

    assert early is None
    assert (again.id, again.attempts, again.attempt) == (job.id, 2, 2)
    assert again.claim != job.claim


def test_skips_locked_jobs_without_waiting(claim, enqueue, open_conn):
    first, second = enqueue(), enqueue()
    rival = open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (first.id,))

    claimed = claim()
    nothing = claim()
    rival.rollback()
    rest = claim()

    assert claimed.id == second.id
    assert nothing is None
    assert rest.id == first.id


def test_does_not_see_a_job_before_its_transaction_has_committed(claim, open_conn):
    application = open_conn()
    application.autocommit = False
    queueing.enqueue(application, [NewJob("mail", {})])

    early = claim()
    application.commit()
    late = claim()

    assert early is None
    assert late is not None


def test_gives_nothing_to_a_worker_that_was_declared_dead(claim, enqueue, worker, conn):
    enqueue()
    claims.deregister(conn, worker)

    dead, stranger = claim(), claim(uuid4())

    assert (dead, stranger) == (None, None)


def test_gives_a_job_that_has_crashed_only_to_claims_for_suspects(claim, enqueue, sql):
    suspect, good, urgent_suspect = enqueue(), enqueue(), enqueue(priority=100)
    sql("UPDATE haulier.job SET crashes = 1 WHERE id = ANY(%s)", [suspect.id, urgent_suspect.id])

    ordinary = [claim(), claim()]
    suspects = [claim(suspect=True) for _ in range(3)]

    assert [job and job.id for job in ordinary] == [good.id, None]
    assert [job and job.id for job in suspects] == [urgent_suspect.id, suspect.id, None]


def test_takes_neither_suspects_nor_jobs_before_their_time_beside_due_ones(conn, worker, enqueue, sql):
    suspect, due, _early = enqueue(), enqueue(), enqueue(delay=timedelta(hours=1))
    sql("UPDATE haulier.job SET crashes = 1 WHERE id = %s", suspect.id)

    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=10)

    assert [job.id for job in claimed] == [due.id]


def test_gives_each_job_once_to_many_workers(at_once, conn, register, sql):
    queueing.enqueue(conn, [NewJob("mail", {}, queue=f"q{n % 3}", priority=n % 2) for n in range(300)])
    workers = [register() for _ in range(4)]

    def work(number: int, mine) -> list:
        ids, asked = [], {"worker_id": workers[number % 4], "queues": (), "limit": 1 + number}
        while jobs := queueing.claim(mine, claim_id=uuid4(), **asked):
            ids += [job.id for job in jobs]
        return ids

    claimed = [job_id for ids in at_once(8, work) for job_id in ids]

    assert len(claimed) == len(set(claimed)) == 300
    assert sql("SELECT DISTINCT attempt, attempts, status FROM haulier.job") == [(1, 1, "running")]


def test_claims_go_on_beside_settles_without_a_deadlock_or_a_second_run(at_once, conn, register):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(300)])
    workers = [register() for _ in range(6)]

    def work(number: int, mine) -> list:
        ran = []
        while jobs := queueing.claim(mine, worker_id=workers[number], claim_id=uuid4(), queues=(), limit=3):
            done = [Settlement(Fence.of(job), Outcome.complete()) for job in reversed(jobs)]
            assert len(claims.settle(mine, done)) == len(jobs)
            ran.extend(job.id for job in jobs)
        return ran

    ran = at_once(6, work)

    everything = [job_id for ids in ran for job_id in ids]
    assert len(everything) == len(set(everything)) == 300
    assert overview.overview(conn).depths == []


def test_says_how_long_until_a_job_is_due(conn, enqueue, claim, running):
    nothing = queueing.seconds_until_due(conn, queues=())
    enqueue(delay=timedelta(seconds=100), queue="mail", priority=7)
    enqueue(delay=timedelta(seconds=50), queue="image")

    every, mail, other = (queueing.seconds_until_due(conn, queues=queues) for queues in ((), ("mail",), ("bulk",)))
    enqueue()
    due = eventually(lambda: queueing.seconds_until_due(conn, queues=()))

    assert nothing is None
    assert other is None
    assert 45 < every <= 50
    assert 95 < mail <= 100
    assert due <= 0
    assert queueing.seconds_until_due(conn, queues=(), suspect=True) is None


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_gives_each_job_once_whatever_level_the_database_defaults_to(at_once, conn, register):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(2000)])

    def take_all(number, mine):
        level = "serializable" if number % 2 else "repeatable read"
        with mine.cursor() as cursor:
            cursor.execute(f"SET default_transaction_isolation = '{level}'")
        by, taken = register(), []
        while jobs := queueing.claim(mine, worker_id=by, claim_id=uuid4(), queues=(), limit=10):
            taken += [job.id for job in jobs]
        return taken

    taken = at_once(4, take_all)

    assert not [error for error in taken if isinstance(error, Exception)]
    assert Counter(Counter(id_ for ids in taken for id_ in ids).values()) == {1: 2000}


def test_the_ids_of_claims_grow_with_time_and_are_all_different():
    ids = [claims.new_claim() for _ in range(2000)]

    assert len(set(ids)) == len(ids)
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    instants = [each.int >> 80 for each in ids]
    assert instants == sorted(instants)
    assert abs(instants[-1] / 1000 - time.time()) < 60
