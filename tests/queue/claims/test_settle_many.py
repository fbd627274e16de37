"""Settle, of many jobs, of claims that are not the current one, and again: it ..."""

from __future__ import annotations

from itertools import product
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import StatementRefused
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from tests import queueing
from tests.queue.claims.outcomes import OUTCOMES


def test_changes_nothing_under_a_wrong_fence(running, conn):
    job, other = running(), uuid4()
    fence = Fence.of(job)
    wrong = [fence._replace(attempt=2), fence._replace(claim=other), fence._replace(id=other)]

    settled = [claims.settle(conn, [Settlement(each, outcome)]) for each in wrong for outcome in OUTCOMES.values()]

    assert settled == [{}] * (3 * len(OUTCOMES))
    assert search.get(conn, job.id).read() == job


def test_changes_nothing_after_the_job_was_claimed_again(running, settle, claim, conn):
    zombie = running()
    settle(zombie, Outcome.release())
    current = claim()

    late = [settle(zombie, outcome) for outcome in OUTCOMES.values()]

    assert late == [None] * len(OUTCOMES)
    assert search.get(conn, current.id).read() == current


def test_changes_nothing_the_second_time(running, settle, conn):
    job = running()
    settle(job, Outcome.complete(1))
    before = search.get(conn, job.id)

    again = [settle(job, outcome) for outcome in OUTCOMES.values()]

    assert again == [None] * len(OUTCOMES)
    assert search.get(conn, job.id) == before


def test_settles_many_at_once_each_as_its_outcome_says(running, conn):
    jobs = [running(payload={"n": n}) for n in range(6)]
    job_acts.cancel(conn, jobs[4].id)
    outcomes = [
        Outcome.complete("a"),
        Outcome.fail("b", delay=60),
        Outcome.fail_for_good("c"),
        Outcome.release(60),
        Outcome.complete("e"),
        Outcome.snooze(60),
    ]

    settled = claims.settle(
        conn, [Settlement(Fence.of(job), outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
    )

    assert [settled[job.id] for job in jobs] == [
        JobStatus.SUCCEEDED,
        JobStatus.RETRYING,
        JobStatus.FAILED_PERMANENT,
        JobStatus.QUEUED,
        JobStatus.CANCELLED,
        JobStatus.QUEUED,
    ]
    assert {job_id: search.get(conn, job_id).status for job_id in settled} == settled
    assert search.get(conn, jobs[0].id).result == "a"
    assert search.get(conn, jobs[2].id).last_error == "c"


def test_settles_the_others_if_one_claim_is_stale(running, conn):
    good, stale = running(), running()

    settled = claims.settle(
        conn,
        [
            Settlement(Fence.of(stale)._replace(claim=uuid4()), Outcome.complete()),
            Settlement(Fence.of(good), Outcome.complete()),
        ],
    )

    assert settled == {good.id: JobStatus.SUCCEEDED}
    assert search.get(conn, stale.id).status is JobStatus.RUNNING


def test_is_all_or_nothing_if_the_database_refuses_one_outcome(running, conn):
    good, bad = running(), running()

    with pytest.raises(psycopg2.DataError):
        claims.settle(
            conn,
            [
                Settlement(Fence.of(good), Outcome.complete()),
                Settlement(Fence.of(bad), Outcome(Verb.COMPLETE, result="{not json")),
            ],
        )

    assert search.get(conn, good.id).read() == good
    assert search.get(conn, bad.id).read() == bad


def test_settles_the_others_if_the_database_refuses_one_outcome(running, conn):
    jobs = [running() for _ in range(9)]
    outcomes = [Outcome.complete(), Outcome(Verb.COMPLETE, result="{not json"), *[Outcome.complete()] * 7]

    became = claims.settle_each(
        conn, [Settlement(Fence.of(job), outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
    )

    assert isinstance(became[1], StatementRefused)
    assert became[1].is_lasting
    assert [*became[:1], *became[2:]] == [JobStatus.SUCCEEDED] * 8
    assert search.get(conn, jobs[1].id).read() == jobs[1]


def test_says_what_settles_whose_reply_was_lost_have_left(running, settle, conn):
    completed, failed, open_job = running(), running(), running()
    settle(completed, Outcome.complete())
    settle(failed, Outcome.fail("no luck", delay=60))

    statuses = claims.settled_earlier(conn, [Fence.of(job) for job in (completed, failed, open_job)])

    assert statuses == {Fence.of(completed): JobStatus.SUCCEEDED, Fence.of(failed): JobStatus.RETRYING}


def test_knows_nothing_of_settles_under_another_fence(running, settle, claim, conn):
    zombie = running()
    settle(zombie, Outcome.release())
    current = claim()
    settle(current, Outcome.complete())
    fence = Fence.of(current)

    wrong = [Fence.of(zombie), fence._replace(claim=uuid4()), fence._replace(attempt=3), fence._replace(id=uuid4())]

    assert claims.settled_earlier(conn, wrong) == {}


def test_settles_of_the_same_jobs_in_opposite_orders_do_not_wait_in_a_circle(
    conn, worker, at_once, open_conn, until_somebody_waits, sql
):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(2000)])
    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=3)
    settlements = [Settlement(Fence.of(job), Outcome.complete()) for job in sorted(jobs, key=lambda job: job.id)]
    sql("ANALYZE haulier.job")
    rival = open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (settlements[1].fence.id,))

    def settle_all(number: int, mine: Connection) -> object:
        if number == 2:
            until_somebody_waits(2)
            return rival.rollback()
        return claims.settle(mine, settlements if number else settlements[::-1])

    settled = at_once(3, settle_all)

    assert sorted(len(each) for each in settled[:2]) == [0, 3]


@pytest.mark.direct("a pool would lend what is set here to the next test")
def test_a_job_that_is_handed_in_twice_ends_once(conn, sql, running):
    wrong = []
    # However the two are joined with the job's row.
    for planner in ("SELECT", "SET enable_nestloop = off; SET enable_tidscan = off"):
        sql(planner)
        for names in product(OUTCOMES, repeat=2):
            job, other = running(), running()
            twice = [Settlement(Fence.of(job), OUTCOMES[name]) for name in names]
            settlements = [*twice, Settlement(Fence.of(other), Outcome.complete())]
            statuses, _ = claims.settle_and_claim(conn, settlements, None)

            rows = sorted(sql("SELECT id, status FROM haulier.jobs"))
            if rows not in [sorted([(job.id, status), (other.id, "succeeded")]) for status in statuses[:2]]:
                wrong.append((planner, names, statuses, rows))
            sql("DELETE FROM haulier.job; DELETE FROM haulier.finished_job")

    assert wrong == []
