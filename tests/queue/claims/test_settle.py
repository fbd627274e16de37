"""Settle, one job or many, of claims that are the current one or not, and again. It ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import StatementRefused
from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus, NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from tests import queueing
from tests.conftest import sql_on

OUTCOMES = {
    "complete": Outcome.complete({"done": True}),
    "fail": Outcome.fail("no luck", delay=1.0, backoff=1.0),
    "fail for good": Outcome.fail_for_good("hopeless"),
    "release": Outcome.release(),
    "snooze": Outcome.snooze(1.0),
    "crash": Outcome(Verb.CRASH, error="crashed", delay=0.0),
}


def test_complete_stores_any_json(running, settle, conn):
    large = ["x" * 64] * 950
    results = [None, False, 0, "", [], "null", "a\\u0000b 'quoted' \\ %s {} 😀", large]
    jobs = [running() for _ in results]

    for job, result in zip(jobs, results, strict=True):
        settle(job, Outcome.complete(result))

    ended = [search.get(conn, job.id) for job in jobs]
    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert [job.result for job in ended] == results


def test_fail_keeps_the_previous_back_off_if_a_receiver_set_the_delay(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("busy", delay=1.0, backoff=4.0))
    make_due(job)

    settle(claim(), Outcome.fail("come back in an hour", delay=3600.0))

    assert search.get(conn, job.id).backoff == 4.0


def test_fail_is_final_once_the_budget_is_spent_and_keeps_twenty_errors(running, settle, claim, make_due, conn):
    job = running(max_attempts=25)
    statuses = []

    for attempt in range(1, 26):
        statuses.append(settle(job, Outcome.fail(f"error {attempt}", delay=60)))
        if attempt < 25:
            make_due(job)
            job = claim()

    ended = search.get(conn, job.id)
    assert statuses == [JobStatus.RETRYING] * 24 + [JobStatus.FAILED_PERMANENT]
    assert (ended.attempts, ended.last_error) == (25, "error 25")
    assert len(ended.errors) == KEPT_ERRORS == 20
    assert [(noted["attempt"], noted["error"]) for noted in ended.errors] == [(n, f"error {n}") for n in range(6, 26)]
    assert ended.finished_at is not None


def test_a_job_waits_for_the_delay_of_its_outcome(running, settle, conn):
    outcomes = {Outcome.fail("no luck", delay=12.5): 12.5, Outcome.release(60): 60, Outcome.snooze(30): 30}
    for outcome, seconds in outcomes.items():
        job = running()
        settle(job, outcome)
        waiting = search.get(conn, job.id)
        assert waiting.run_at - waiting.updated_at == timedelta(seconds=seconds)
        for noted in waiting.errors:
            assert noted["at"].endswith("Z")
            assert datetime.fromisoformat(noted["at"]) == waiting.updated_at.astimezone(UTC)
        assert len(waiting.errors) == (outcome.error is not None)


def test_snooze_is_granted_a_hundred_times_and_then_fails_for_good_saying_why(running, settle, claim, make_due, conn):
    job = running(max_attempts=1)

    statuses = []
    for number in range(MAX_SNOOZES + 1):
        statuses.append(settle(job, Outcome.snooze(0)))
        if number < MAX_SNOOZES:
            make_due(job)
            job = claim()

    ended = search.get(conn, job.id)
    assert statuses == [JobStatus.QUEUED] * 100 + [JobStatus.FAILED_PERMANENT]
    assert "snooze" in ended.last_error
    assert "100" in ended.last_error
    assert [noted["error"] for noted in ended.errors] == [ended.last_error]
    assert ended.attempts == 1


def test_a_requested_cancel_wins_over_every_outcome(running, settle, conn, sql):
    for outcome in OUTCOMES.values():
        job = running()
        job_acts.cancel(conn, job.id)

        status = settle(job, outcome)

        ended = search.get(conn, job.id)
        assert status is ended.status is JobStatus.CANCELLED, outcome
        assert (ended.result, ended.cancel_requested, ended.last_error) == (None, True, outcome.error)
        assert ended.finished_at is not None
        assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_stores_an_error_text_of_any_characters(running, settle, conn):
    job, given_back = running(), running()
    text = "it's \\ {braces} %(percent)s \x01 \ud800 \x00 😀" + "x" * 10_000

    settle(job, Outcome.fail_for_good(text))

    ended = search.get(conn, job.id)
    assert ended.last_error == ended.errors[0]["error"]
    assert ended.last_error.startswith("it's \\ {braces} %(percent)s \x01 ? \ufffd 😀xxx")
    assert len(ended.last_error.encode()) == 4096
    settle(given_back, Outcome.release(60, why="nobody knows \x00 it"))
    assert search.get(conn, given_back.id).last_error == "nobody knows \ufffd it"


# --- Many, and of other claims


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
    settle(current, Outcome.complete(1))
    ended = search.get(conn, current.id)
    assert [settle(current, outcome) for outcome in OUTCOMES.values()] == [None] * len(OUTCOMES)
    assert search.get(conn, current.id) == ended


def test_settles_many_at_once_each_as_its_outcome_says(running, conn):
    jobs = [running(payload={"n": n}) for n in range(6)]
    stale = running()
    job_acts.cancel(conn, jobs[4].id)
    ends = [
        (Outcome.complete("a"), JobStatus.SUCCEEDED),
        (Outcome.fail("b", delay=60), JobStatus.RETRYING),
        (Outcome.fail_for_good("c"), JobStatus.FAILED_PERMANENT),
        (Outcome.release(60), JobStatus.QUEUED),
        (Outcome.complete("e"), JobStatus.CANCELLED),
        (Outcome.snooze(60), JobStatus.QUEUED),
    ]
    settlements = [Settlement(Fence.of(job), outcome) for job, (outcome, _) in zip(jobs, ends, strict=True)]
    settlements.insert(3, Settlement(Fence.of(stale)._replace(claim=uuid4()), Outcome.complete()))

    settled = claims.settle(conn, settlements)

    assert settled == {job.id: status for job, (_, status) in zip(jobs, ends, strict=True)}
    assert {job_id: search.get(conn, job_id).status for job_id in settled} == settled
    assert search.get(conn, stale.id).read() == stale
    assert search.get(conn, jobs[0].id).result == "a"
    assert search.get(conn, jobs[2].id).last_error == "c"


def test_completed_jobs_end_beside_locked_lost_and_cancelled_ones(running, conn, open_conn):
    done, cancelled, locked, lost, last = jobs = [running() for _ in range(5)]
    job_acts.cancel(conn, cancelled.id)
    rival = open_conn(autocommit=False)
    sql_on(rival)("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", locked.id)
    fences = [Fence.of(job)._replace(**({"claim": uuid4()} if job is lost else {})) for job in jobs]

    became = claims.settle_each(conn, [Settlement(fence, Outcome.complete({"n": 7})) for fence in fences])

    assert became == [JobStatus.SUCCEEDED, JobStatus.CANCELLED, None, None, JobStatus.SUCCEEDED]
    assert [search.get(conn, job.id).result for job in (done, cancelled, last)] == [{"n": 7}, None, {"n": 7}]
    assert [search.get(conn, job.id).read() for job in (locked, lost)] == [locked, lost]


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


def test_says_by_the_whole_fence_what_unanswered_settles_have_left(running, settle, conn):
    completed, failed, open_job = running(), running(), running()
    settle(completed, Outcome.complete())
    settle(failed, Outcome.fail("no luck", delay=60))

    statuses = claims.settled_earlier(conn, [Fence.of(job) for job in (completed, failed, open_job)])

    assert statuses == {Fence.of(completed): JobStatus.SUCCEEDED, Fence.of(failed): JobStatus.RETRYING}
    fence = Fence.of(completed)
    wrong = [fence._replace(claim=uuid4()), fence._replace(attempt=3), fence._replace(id=uuid4())]
    assert claims.settled_earlier(conn, wrong) == {}


def test_settles_of_the_same_jobs_in_opposite_orders_do_not_wait_in_a_circle(
    conn, worker, at_once, open_conn, until_somebody_waits, sql
):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(2000)])
    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=3)
    settlements = [Settlement(Fence.of(job), Outcome.complete()) for job in sorted(jobs, key=lambda job: job.id)]
    sql("ANALYZE haulier.job")
    rival = open_conn(autocommit=False)
    sql_on(rival)("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", settlements[1].fence.id)

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
