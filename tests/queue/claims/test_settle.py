"""Settle: it ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import jobs as job_acts
from haulier.queue import search
from tests.queue.claims.outcomes import OUTCOMES


def test_complete_stores_any_json(running, settle, conn):
    large = ["x" * 64] * 950
    results = [None, False, 0, "", [], "null", "a\\u0000b 'quoted' \\ %s {} 😀", large]
    jobs = [running() for _ in results]

    for job, result in zip(jobs, results, strict=True):
        settle(job, Outcome.complete(result))

    ended = [search.get(conn, job.id) for job in jobs]
    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert [job.result for job in ended] == results


def test_fail_makes_it_retrying_after_the_delay(running, settle, conn):
    job = running()

    status = settle(job, Outcome.fail("connection refused", delay=12.5, backoff=7.0))

    waiting = search.get(conn, job.id)
    assert status is waiting.status is JobStatus.RETRYING
    assert waiting.run_at - waiting.updated_at == timedelta(seconds=12.5)
    assert (waiting.backoff, waiting.worker_id, waiting.attempts) == (7.0, None, 1)
    assert waiting.last_error == "connection refused"
    [noted] = waiting.errors
    assert (noted["attempt"], noted["error"]) == (1, "connection refused")
    assert noted["at"].endswith("Z")
    assert datetime.fromisoformat(noted["at"]) == waiting.updated_at.astimezone(UTC)


def test_fail_keeps_the_previous_back_off_if_a_receiver_set_the_delay(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("busy", delay=1.0, backoff=4.0))
    make_due(job)

    settle(claim(), Outcome.fail("come back in an hour", delay=3600.0))

    assert search.get(conn, job.id).backoff == 4.0


def test_fail_is_final_once_the_budget_is_spent(running, settle, claim, make_due, conn):
    job = running(max_attempts=3)
    statuses = []

    for attempt in (1, 2, 3):
        statuses.append(settle(job, Outcome.fail(f"error {attempt}", delay=60)))
        if attempt < 3:
            make_due(job)
            job = claim()

    ended = search.get(conn, job.id)
    assert statuses == [JobStatus.RETRYING, JobStatus.RETRYING, JobStatus.FAILED_PERMANENT]
    assert (ended.attempts, ended.last_error) == (3, "error 3")
    assert [noted["attempt"] for noted in ended.errors] == [1, 2, 3]
    assert ended.finished_at is not None


def test_keeps_the_last_error_after_a_later_success(running, settle, claim, make_due, conn):
    job = running()
    settle(job, Outcome.fail("first time unlucky", delay=0))
    make_due(job)

    settle(claim(), Outcome.complete())

    ended = search.get(conn, job.id)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.last_error == "first time unlucky"
    assert len(ended.errors) == 1


def test_keeps_the_last_twenty_errors(running, settle, claim, make_due, conn):
    job = running(max_attempts=1000)

    for attempt in range(1, 26):
        settle(job, Outcome.fail(f"error {attempt}", delay=0))
        make_due(job)
        job = claim()

    errors = search.get(conn, job.id).errors
    assert len(errors) == KEPT_ERRORS == 20
    assert [(noted["attempt"], noted["error"]) for noted in errors] == [(n, f"error {n}") for n in range(6, 26)]


def test_a_job_waits_for_the_delay_of_its_outcome(running, settle, conn):
    outcomes = {Outcome.fail("no luck", delay=12.5): 12.5, Outcome.release(60): 60, Outcome.snooze(30): 30}
    for outcome, seconds in outcomes.items():
        job = running()
        settle(job, outcome)
        waiting = search.get(conn, job.id)
        assert waiting.run_at - waiting.updated_at == timedelta(seconds=seconds)


def test_release_gives_the_attempt_back_and_makes_it_due_at_once(running, settle, claim, conn):
    job = running()

    status = settle(job, Outcome.release())

    waiting = search.get(conn, job.id)
    assert status is waiting.status is JobStatus.QUEUED
    assert (waiting.attempts, waiting.attempt) == (0, 1)
    assert (waiting.last_error, waiting.errors) == (None, [])
    again = claim()
    assert (again.attempts, again.attempt) == (1, 2)


def test_release_on_the_last_attempt_leaves_it_one_more(running, settle, claim, conn):
    job = running(max_attempts=1)
    settle(job, Outcome.release())

    again = claim()

    assert again.attempts == 1
    assert settle(again, Outcome.fail("no luck", delay=0)) is JobStatus.FAILED_PERMANENT


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
    job = running()
    text = "it's \\ {braces} %(percent)s \x01 \ud800 \x00 😀" + "x" * 10_000

    settle(job, Outcome.fail_for_good(text))

    ended = search.get(conn, job.id)
    assert ended.last_error == ended.errors[0]["error"]
    assert ended.last_error.startswith("it's \\ {braces} %(percent)s \x01 ? \ufffd 😀xxx")
    assert len(ended.last_error.encode()) == 4096


def test_says_why_a_job_was_given_back_without_counting_it_as_a_failed_attempt(running, settle, conn, claim, make_due):
    job = running(max_attempts=3)
    settle(job, Outcome.fail("no luck", delay=0))
    settle(claim(), Outcome.release(60))
    without_reason = search.get(conn, job.id)
    make_due(job)

    settle(claim(), Outcome.release(60, why="nobody knows \x00 it"))

    back = search.get(conn, job.id)
    assert without_reason.last_error == "no luck"
    assert (back.status, back.attempts, back.last_error) == (JobStatus.RETRYING, 1, "nobody knows \ufffd it")
    assert [failed["error"] for failed in back.errors] == ["no luck"]
