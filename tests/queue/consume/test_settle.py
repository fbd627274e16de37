"""Settle: it ..."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import produce
from tests.queue.consume.outcomes import every_outcome


def test_complete_ends_the_job_succeeded_with_its_result(running, settle, conn, sql):
    job = running(payload={"n": 1})

    status = settle(job, Outcome.complete({"where": "out.png", "größe": [1, None]}))

    ended = produce.get(conn, job.id)
    assert status is ended.status is JobStatus.SUCCEEDED
    assert ended.result == {"where": "out.png", "größe": [1, None]}
    assert (ended.attempts, ended.attempt, ended.claim, ended.worker_id) == (1, 1, job.claim, job.worker_id)
    assert (ended.payload, ended.created_at, ended.started_at) == (job.payload, job.created_at, job.started_at)
    assert ended.finished_at == ended.updated_at >= ended.started_at
    assert (ended.last_error, ended.errors) == (None, [])


def test_moves_the_job_to_history_in_one_piece(running, settle, sql):
    job = running(
        queue="mail",
        priority=5,
        max_attempts=9,
        timeout_seconds=60,
        idempotency_key="order-7",
        payload={"n": 1},
        tags=["vip", "a b"],
    )
    [[before]] = sql("SELECT to_jsonb(job) FROM haulier.job WHERE id = %s", job.id)

    settle(job, Outcome.complete(1))

    [[after]] = sql("SELECT to_jsonb(finished_job) FROM haulier.finished_job WHERE id = %s", job.id)
    changed = {"status", "updated_at"}
    gone = {"suspect", "backoff"}
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
