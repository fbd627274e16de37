"""Retry, an operator's: it ..."""

from __future__ import annotations

from datetime import timedelta

import pytest

from haulier.domain.errors import InvalidTransition, JobChanged, NotRetryable, RowRefused
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.postgres.errors import translated
from haulier.queue import jobs, search


@pytest.fixture
def failed(running, settle, conn):
    """Give a job that has failed for good on its second attempt, and snoozed once before."""

    def failed(**options):
        job = running(max_attempts=2, **options)
        settle(job, Outcome.fail_for_good("first failure"))
        return search.get(conn, job.id)

    return failed


def test_keeps_what_went_wrong_before(failed, claim, settle, conn):
    ended = failed()

    back = jobs.retry(conn, ended.id)
    settle(claim(), Outcome.fail("second failure", delay=60))

    again = search.get(conn, ended.id)
    assert (back.last_error, back.errors) == ("first failure", ended.errors)
    assert [noted["error"] for noted in again.errors] == ["first failure", "second failure"]


def test_lets_the_fence_go_on_growing(running, settle, claim, conn):
    zombie = running()
    settle(zombie, Outcome.fail_for_good("no"))
    jobs.retry(conn, zombie.id)

    while_waiting = settle(zombie, Outcome.complete())
    current = claim()
    while_running = settle(zombie, Outcome.complete())

    assert (while_waiting, while_running) == (None, None)
    assert (current.attempts, current.attempt) == (1, 2)
    assert search.get(conn, current.id).read() == current


def test_leaves_a_job_that_has_crashed_before_a_suspect(failed, claim, sql, conn):
    ended = failed()
    sql("UPDATE haulier.finished_job SET crashes = 2")

    jobs.retry(conn, ended.id)

    assert claim() is None
    assert claim(suspect=True).crashes == 2


def test_refuses_a_job_that_succeeded_or_still_lives(running, enqueue, settle, conn):
    queued, retrying, held, succeeded = enqueue(delay=timedelta(hours=1)), running(), running(), running()
    settle(retrying, Outcome.fail("no luck", delay=60))
    settle(succeeded, Outcome.complete())

    for job, status in ((queued, "queued"), (retrying, "retrying"), (held, "running"), (succeeded, "succeeded")):
        with pytest.raises(InvalidTransition, match=f"cannot retry when status={status}"):
            jobs.retry(conn, job.id)


def test_brings_the_job_back_once_if_many_ask_at_once(failed, at_once, sql):
    ended = failed()

    answers = at_once(8, lambda number, mine: jobs.retry(mine, ended.id))

    refused = [answer for answer in answers if isinstance(answer, InvalidTransition)]
    assert len(refused) == 7
    assert all("status=queued" in str(error) for error in refused)
    assert sql("SELECT id, status FROM haulier.jobs") == [(ended.id, "queued")]


def test_does_not_mix_with_a_cancel_at_the_same_moment(failed, at_once, conn, sql):
    for _ in range(10):
        ended = failed()

        answers = at_once(4, lambda n, mine, job=ended: (jobs.cancel if n % 2 else jobs.retry)(mine, job.id))

        assert all(isinstance(a, InvalidTransition | JobChanged) or a is True or hasattr(a, "id") for a in answers), (
            answers
        )
        assert sql("SELECT count(*) FROM haulier.jobs WHERE id = %s", ended.id) == [(1,)]
        sql("DELETE FROM haulier.job")


def test_refuses_a_job_whose_id_another_one_has_live_or_ended(failed, claim, settle, sql, conn):
    ended = failed()
    sql("INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'mail', '{}') RETURNING 1", ended.id)
    with pytest.raises(NotRetryable, match="there is another job with its id"):
        jobs.retry(conn, ended.id)
    assert sql("SELECT status FROM haulier.jobs ORDER BY status") == [("failed_permanent",), ("queued",)]

    assert settle(claim(), Outcome.fail_for_good("no")) is JobStatus.FAILED_PERMANENT

    with pytest.raises(NotRetryable, match="there is another job with its id"):
        jobs.retry(conn, ended.id)
    assert sql("SELECT count(*) FROM haulier.jobs WHERE id = %s", ended.id) == [(2,)]


def test_lets_a_live_job_be_cancelled_whose_id_history_has_already(failed, sql, conn):
    ended = failed()
    sql("INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'mail', '{}') RETURNING 1", ended.id)

    assert jobs.cancel(conn, ended.id) is True


def test_refuses_a_row_of_history_that_was_never_a_job(failed, sql, conn):
    ended = failed()
    sql("UPDATE haulier.finished_job SET kind = 'No Kind' RETURNING 1")

    with pytest.raises(RowRefused, match="kind_is_a_name"), translated():
        jobs.retry(conn, ended.id)
