"""Settle: it ..."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import StatementRefused
from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus, NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.queue import consume, produce

OUTCOMES = {
    "complete": Outcome.complete({"done": True}),
    "fail": Outcome.fail("no luck", delay=1.0, backoff=1.0),
    "fail for good": Outcome.fail_for_good("hopeless"),
    "release": Outcome.release(),
    "snooze": Outcome.snooze(1.0),
    "crash": Outcome(Verb.CRASH, error="crashed", delay=0.0),
}
every_outcome = pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())


def test_complete_ends_the_job_succeeded_with_its_result(running, settle, conn, sql):
    job = running(payload={"n": 1})

    status = settle(job, Outcome.complete({"where": "out.png", "größe": [1, None]}))

    ended = produce.get(conn, job.id)
    assert status is ended.status is JobStatus.SUCCEEDED
    assert ended.result == {"where": "out.png", "größe": [1, None]}
    assert (ended.attempts, ended.attempt, ended.claim, ended.worker_id) == (1, 1, job.claim, None)
    assert (ended.payload, ended.created_at, ended.started_at) == (job.payload, job.created_at, job.started_at)
    assert ended.finished_at == ended.updated_at >= ended.started_at
    assert (ended.last_error, ended.errors) == (None, [])


def test_moves_the_job_to_history_in_one_piece(running, settle, sql):
    job = running(
        queue="mail", priority=5, max_attempts=9, timeout_seconds=60, idempotency_key="order-7", payload={"n": 1}
    )
    [[before]] = sql("SELECT to_jsonb(job) FROM haulier.job WHERE id = %s", job.id)

    settle(job, Outcome.complete(1))

    [[after]] = sql("SELECT to_jsonb(finished_job) FROM haulier.finished_job WHERE id = %s", job.id)
    changed = {"status", "updated_at"}
    gone = {"worker_id", "suspect", "backoff"}
    assert before.keys() - after.keys() == gone
    assert after.keys() - before.keys() == {"finished_at", "result"}
    assert {name: after[name] for name in after.keys() & before.keys() - changed} == {
        name: before[name] for name in before.keys() - gone - changed
    }
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


@pytest.mark.parametrize("result", [None, False, 0, "", [], "null", "a\\u0000b 'quoted' \\ %s {} 😀"])
def test_complete_stores_any_json(running, settle, conn, result):
    job = running()

    settle(job, Outcome.complete(result))

    ended = produce.get(conn, job.id)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.result == result


def test_fail_makes_it_retrying_after_the_delay(running, settle, conn):
    job = running()

    status = settle(job, Outcome.fail("connection refused", delay=12.5, backoff=7.0))

    waiting = produce.get(conn, job.id)
    assert status is waiting.status is JobStatus.RETRYING
    assert waiting.run_at - waiting.updated_at == timedelta(seconds=12.5)
    assert (waiting.backoff, waiting.worker_id, waiting.attempts) == (7.0, None, 1)
    assert waiting.last_error == "connection refused"
    [noted] = waiting.errors
    assert (noted["attempt"], noted["error"]) == (1, "connection refused")
    assert noted["at"].endswith("Z")
    assert datetime.fromisoformat(noted["at"]) == waiting.updated_at.astimezone(UTC)


def test_fail_keeps_the_previous_back_off_where_a_receiver_set_the_delay(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("busy", delay=1.0, backoff=4.0))
    make_due(job)

    settle(claim(), Outcome.fail("come back in an hour", delay=3600.0))

    assert produce.get(conn, job.id).backoff == 4.0


def test_fail_is_final_once_the_budget_is_spent(running, settle, claim, make_due, conn):
    job = running(max_attempts=3)
    statuses = []

    for attempt in (1, 2, 3):
        statuses.append(settle(job, Outcome.fail(f"error {attempt}", delay=60)))
        if attempt < 3:
            make_due(job)
            job = claim()

    ended = produce.get(conn, job.id)
    assert statuses == [JobStatus.RETRYING, JobStatus.RETRYING, JobStatus.FAILED_PERMANENT]
    assert (ended.attempts, ended.last_error) == (3, "error 3")
    assert [noted["attempt"] for noted in ended.errors] == [1, 2, 3]
    assert ended.finished_at is not None


def test_fail_for_good_skips_the_rest_of_the_budget(running, settle, conn):
    job = running(max_attempts=1000)

    status = settle(job, Outcome.fail_for_good("the address does not exist"))

    ended = produce.get(conn, job.id)
    assert status is ended.status is JobStatus.FAILED_PERMANENT
    assert (ended.attempts, ended.last_error) == (1, "the address does not exist")
    assert ended.result is None


def test_keeps_the_last_error_after_a_later_success(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("first time unlucky", delay=0))
    make_due(job)

    settle(claim(), Outcome.complete())

    ended = produce.get(conn, job.id)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.last_error == "first time unlucky"
    assert len(ended.errors) == 1


def test_keeps_the_last_twenty_errors(running, settle, claim, make_due, conn):
    job = running(max_attempts=1000)

    for attempt in range(1, 26):
        settle(job, Outcome.fail(f"error {attempt}", delay=0))
        make_due(job)
        job = claim()

    errors = produce.get(conn, job.id).errors
    assert len(errors) == KEPT_ERRORS == 20
    assert [(noted["attempt"], noted["error"]) for noted in errors] == [(n, f"error {n}") for n in range(6, 26)]


def test_release_gives_the_attempt_back_and_makes_it_due_at_once(running, settle, claim, conn):
    job = running()

    status = settle(job, Outcome.release())

    waiting = produce.get(conn, job.id)
    assert status is waiting.status is JobStatus.QUEUED
    assert (waiting.attempts, waiting.attempt) == (0, 1)
    assert (waiting.last_error, waiting.errors) == (None, [])
    again = claim()
    assert (again.attempts, again.attempt) == (1, 2)


def test_release_leaves_a_job_that_has_failed_before_retrying(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("no luck", delay=0))
    make_due(job)

    status = settle(claim(), Outcome.release(60))

    waiting = produce.get(conn, job.id)
    assert status is JobStatus.RETRYING
    assert (waiting.attempts, waiting.attempt) == (1, 2)
    assert waiting.run_at - waiting.updated_at == timedelta(seconds=60)


def test_release_on_the_last_attempt_leaves_it_one_more(running, settle, claim, conn):
    job = running(max_attempts=1)
    settle(job, Outcome.release())

    again = claim()

    assert again.attempts == 1
    assert settle(again, Outcome.fail("no luck", delay=0)) is JobStatus.FAILED_PERMANENT


def test_snooze_does_not_count_as_an_attempt(running, settle, conn):
    job = running(max_attempts=1)

    status = settle(job, Outcome.snooze(30))

    waiting = produce.get(conn, job.id)
    assert status is waiting.status is JobStatus.QUEUED
    assert (waiting.attempts, waiting.snoozes) == (0, 1)
    assert waiting.run_at - waiting.updated_at == timedelta(seconds=30)


def test_snooze_is_granted_a_hundred_times_and_then_fails_for_good_saying_why(running, settle, claim, make_due, conn):
    job = running(max_attempts=1)

    statuses = []
    for number in range(MAX_SNOOZES + 1):
        statuses.append(settle(job, Outcome.snooze(0)))
        if number < MAX_SNOOZES:
            make_due(job)
            job = claim()

    ended = produce.get(conn, job.id)
    assert statuses == [JobStatus.QUEUED] * 100 + [JobStatus.FAILED_PERMANENT]
    assert "snooze" in ended.last_error
    assert "100" in ended.last_error
    assert [noted["error"] for noted in ended.errors] == [ended.last_error]
    assert ended.attempts == 1


@every_outcome
def test_a_requested_cancel_wins_over_every_outcome(running, settle, conn, sql, outcome):
    job = running()
    produce.cancel(conn, job.id)

    status = settle(job, outcome)

    ended = produce.get(conn, job.id)
    assert status is ended.status is JobStatus.CANCELLED
    assert ended.result is None
    assert ended.cancel_requested
    assert ended.finished_at is not None
    assert ended.last_error == outcome.error
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


@every_outcome
@pytest.mark.parametrize("part", ["attempt", "claim", "id"])
def test_changes_nothing_under_a_wrong_fence(running, conn, outcome, part):
    job = running()
    wrong = {"attempt": job.attempt + 1, "claim": uuid4(), "id": uuid4()}
    fence = Fence.of(job)._replace(**{part: wrong[part]})

    settled = consume.settle(conn, [Settlement(fence, outcome)])

    assert settled == {}
    assert produce.get(conn, job.id).read() == job


@every_outcome
def test_changes_nothing_after_the_job_was_claimed_again(running, settle, claim, conn, outcome):
    zombie = running()
    settle(zombie, Outcome.release())
    current = claim()

    late = settle(zombie, outcome)

    assert late is None
    assert produce.get(conn, current.id).read() == current


@every_outcome
def test_changes_nothing_the_second_time(running, settle, conn, outcome):
    job = running()
    settle(job, Outcome.complete(1))
    before = produce.get(conn, job.id)

    again = settle(job, outcome)

    assert again is None
    assert produce.get(conn, job.id) == before


def test_settles_many_at_once_each_as_its_outcome_says(running, conn):
    jobs = [running(payload={"n": n}) for n in range(6)]
    produce.cancel(conn, jobs[4].id)
    outcomes = [
        Outcome.complete("a"),
        Outcome.fail("b", delay=60),
        Outcome.fail_for_good("c"),
        Outcome.release(60),
        Outcome.complete("e"),
        Outcome.snooze(60),
    ]

    settled = consume.settle(
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
    assert {job_id: produce.get(conn, job_id).status for job_id in settled} == settled
    assert produce.get(conn, jobs[0].id).result == "a"
    assert produce.get(conn, jobs[2].id).last_error == "c"


def test_settles_the_others_where_one_claim_is_stale(running, conn):
    good, stale = running(), running()

    settled = consume.settle(
        conn,
        [
            Settlement(Fence.of(stale)._replace(claim=uuid4()), Outcome.complete()),
            Settlement(Fence.of(good), Outcome.complete()),
        ],
    )

    assert settled == {good.id: JobStatus.SUCCEEDED}
    assert produce.get(conn, stale.id).status is JobStatus.RUNNING


def test_returns_nothing_where_nothing_is_settled(conn):
    assert consume.settle(conn, []) == {}


def test_is_all_or_nothing_where_the_database_refuses_one_outcome(running, conn):
    good, bad = running(), running()

    with pytest.raises(psycopg2.DataError):
        consume.settle(
            conn,
            [
                Settlement(Fence.of(good), Outcome.complete()),
                Settlement(Fence.of(bad), Outcome(Verb.COMPLETE, result="{not json")),
            ],
        )

    assert produce.get(conn, good.id).read() == good
    assert produce.get(conn, bad.id).read() == bad


def test_settles_the_others_where_the_database_refuses_one_outcome(running, conn):
    jobs = [running() for _ in range(9)]
    outcomes = [Outcome.complete(), Outcome(Verb.COMPLETE, result="{not json"), *[Outcome.complete()] * 7]

    became = consume.settle_each(
        conn, [Settlement(Fence.of(job), outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
    )

    assert isinstance(became[1], StatementRefused)
    assert became[1].is_lasting
    assert [*became[:1], *became[2:]] == [JobStatus.SUCCEEDED] * 8
    assert produce.get(conn, jobs[1].id).read() == jobs[1]


def test_settled_earlier_tells_what_settles_whose_reply_was_lost_have_left(running, settle, conn):
    completed, failed, open_job = running(), running(), running()
    settle(completed, Outcome.complete())
    settle(failed, Outcome.fail("no luck", delay=60))

    told = consume.settled_earlier(conn, [Fence.of(job) for job in (completed, failed, open_job)])

    assert told == {Fence.of(completed): JobStatus.SUCCEEDED, Fence.of(failed): JobStatus.RETRYING}


def test_settled_earlier_knows_nothing_of_another_claim(running, settle, claim, conn):
    zombie = running()
    settle(zombie, Outcome.release())
    settle(claim(), Outcome.complete())

    told = consume.settled_earlier(conn, [Fence.of(zombie)])

    assert told == {}


def test_settled_earlier_asks_for_the_whole_fence(running, settle, conn):
    job = running()
    settle(job, Outcome.complete())
    fence = Fence.of(job)

    wrong = [fence._replace(claim=uuid4()), fence._replace(attempt=2), fence._replace(id=uuid4())]

    assert consume.settled_earlier(conn, wrong) == {}


def test_settles_of_the_same_jobs_in_opposite_orders_do_not_wait_in_a_circle(
    conn, worker, at_once, open_conn, until_somebody_waits, sql
):
    produce.enqueue(conn, [NewJob("mail", {}) for _ in range(2000)])
    jobs = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=3)
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
        return consume.settle(mine, settlements if number else settlements[::-1])

    settled = at_once(3, settle_all)

    assert sorted(len(each) for each in settled[:2]) == [0, 3]


def test_stores_an_error_text_of_any_characters(running, settle, conn):
    job = running()
    text = "it's \\ {braces} %(percent)s \x01 \ud800 \x00 😀" + "x" * 10_000

    settle(job, Outcome.fail_for_good(text))

    ended = produce.get(conn, job.id)
    assert ended.last_error == ended.errors[0]["error"]
    assert ended.last_error.startswith("it's \\ {braces} %(percent)s \x01 ? \ufffd 😀xxx")
    assert len(ended.last_error.encode()) == 4096


def test_stores_the_largest_result(running, settle, conn):
    job = running()
    result = ["x" * 64] * 950

    status = settle(job, Outcome.complete(result))

    assert status is JobStatus.SUCCEEDED
    assert len(json.dumps(produce.get(conn, job.id).result)) > 60_000


@pytest.mark.parametrize(
    "planner",
    [
        "SELECT 1",
        pytest.param(
            "SET enable_nestloop = off; SET enable_tidscan = off",
            marks=pytest.mark.direct("a pool would lend what is set here to the next test"),
        ),
    ],
)
@pytest.mark.parametrize("second", OUTCOMES.values(), ids=OUTCOMES.keys())
@every_outcome
def test_a_job_that_is_handed_in_twice_ends_once(conn, sql, running, outcome, second, planner):
    job, other = running(), running()
    with conn.cursor() as cursor:
        cursor.execute(planner)
    twice = [Settlement(Fence.of(job), each) for each in (outcome, second)]

    statuses, _ = consume.settle_and_claim(conn, [*twice, Settlement(Fence.of(other), Outcome.complete())], None)

    assert sorted(sql("SELECT id, count(*) FROM haulier.jobs GROUP BY id")) == sorted([(job.id, 1), (other.id, 1)])
    assert produce.get(conn, job.id).status in statuses[:2]
    assert statuses[2] is JobStatus.SUCCEEDED


def test_says_why_a_job_was_given_back_without_counting_it_as_a_failed_attempt(running, settle, conn, claim, sql):
    job = running(max_attempts=3)
    settle(job, Outcome.fail("no luck", delay=0))
    again = claim()

    settle(again, Outcome.release(60, why="nobody knows \x00 it"))

    back = produce.get(conn, job.id)
    assert (back.status, back.attempts, back.last_error) == (JobStatus.RETRYING, 1, "nobody knows \ufffd it")
    assert [failed["error"] for failed in back.errors] == ["no luck"]


def test_keeps_the_last_error_where_nothing_is_said_of_why_a_job_was_given_back(running, settle, conn, claim):
    job = running()
    settle(job, Outcome.fail("no luck", delay=0))

    settle(claim(), Outcome.release(60))

    assert produce.get(conn, job.id).last_error == "no luck"
