"""Change, copy and delete, an operator's: they ..."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from haulier.domain.errors import InvalidTransition, JobChanged, JobNotFound
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import transaction
from haulier.queue import jobs, search
from haulier.queue.jobs.change import Changes
from haulier.queue.jobs.draft import Receipt
from haulier.queue.numbers import counts
from haulier.queue.search.job_filter import JobFilter
from tests import queueing

AUDIT = "SELECT action, job_id, details FROM haulier.audit ORDER BY id"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def waiting(conn):
    """Give a function that enqueues a job, and returns it."""

    def waiting(**options):
        [made] = queueing.enqueue(conn, [NewJob("mail", options.pop("payload", {"n": 1}), **options)])
        return made.job

    return waiting


def test_change_no_row_and_leave_no_record_if_nothing_differs(waiting, conn, sql):
    job = waiting(tags=["a"])

    same = jobs.change(conn, job.id, Changes.of(queue="default", priority=0, tags=["a"], payload={"n": 1}))

    assert same.updated_at == job.updated_at
    assert sql(AUDIT) == []


def test_take_a_time_that_has_passed_as_now(waiting, conn):
    for changes in ({"run_at": "2020-01-01T00:00:00Z"}, {"delay_seconds": 0}):
        job = waiting(delay=timedelta(hours=1))
        changed = jobs.change(conn, job.id, Changes.of(**changes))
        assert abs(changed.run_at - job.created_at) < timedelta(minutes=1)


def test_change_no_job_that_runs_or_has_ended_and_delete_no_live_one(waiting, running, settle, conn, sql):
    runs, succeeded, failed, waits = running(), running(), running(), waiting()
    settle(succeeded, Outcome.complete())
    settle(failed, Outcome.fail_for_good("no"))
    before = {job.id: search.get(conn, job.id) for job in (runs, succeeded, failed, waits)}

    for job in (runs, succeeded, failed):
        with pytest.raises(InvalidTransition, match="cannot change when status="):
            jobs.change(conn, job.id, Changes.of(priority=1))
    for job in (runs, waits):
        with pytest.raises(InvalidTransition, match="cannot delete when status="):
            jobs.delete(conn, job.id)

    assert {job_id: search.get(conn, job_id) for job_id in before} == before
    assert sql(AUDIT) == []


def test_know_no_job_that_is_not_there_or_in_no_queue_of_the_caller(waiting, conn):
    job = waiting()

    for act in (jobs.change, jobs.retry, jobs.copy, jobs.cancel, jobs.delete):
        changes = [Changes.of(priority=1)] if act in (jobs.change, jobs.retry, jobs.copy) else []
        for job_id, queues in ((uuid4(), None), (job.id, ["mail"]), (job.id, [])):
            with pytest.raises(JobNotFound):
                act(conn, job_id, *changes, queues=queues)

    assert search.get(conn, job.id).read() == job.read()


def test_look_at_the_queue_in_which_the_job_is_then(waiting, conn):
    job = waiting(queue="mail")
    jobs.change(conn, job.id, Changes.of(queue="bulk"))

    for act in (jobs.change, jobs.copy):
        with pytest.raises(JobNotFound):
            act(conn, job.id, Changes.of(priority=1), queues=["mail"])
    with pytest.raises(JobNotFound):
        jobs.cancel(conn, job.id, queues=["mail"])
    jobs.cancel(conn, job.id, queues=["bulk"])
    for act in (jobs.retry, jobs.delete):
        with pytest.raises(JobNotFound):
            act(conn, job.id, queues=["mail"])

    assert jobs.retry(conn, job.id, queues=["bulk"]).queue == "bulk"


def test_do_nothing_if_the_payload_is_not_the_one_that_was_seen(waiting, conn):
    other = Changes.of(payload={"n": 2}).fields
    for act in (jobs.change, jobs.copy):
        job = waiting()
        seen = search.get(conn, job.id).payload_hash
        assert act(conn, job.id, Changes(other, seen)).payload == {"n": 2}
        jobs.change(conn, job.id, Changes.of(payload={"n": 3}))
        with pytest.raises(JobChanged):
            act(conn, job.id, Changes(other, seen))
        assert search.get(conn, job.id).payload == {"n": 3}


def test_change_a_job_once_beside_cancels_and_other_changes(waiting, at_once, conn, sql):
    for _ in range(10):
        job = waiting()

        def act(number, mine, job=job):
            if number == 0:
                return jobs.cancel(mine, job.id)
            return jobs.change(mine, job.id, Changes.of(priority=number)).priority

        at_once(6, act)
        [(changes,)] = sql(
            "SELECT array_agg(details -> 'changes' -> 'priority' ORDER BY id) FROM haulier.audit"
            " WHERE job_id = %s AND action = 'change'",
            str(job.id),
        )
        last = 0
        for change in changes or []:
            assert change["old"] == last
            last = change["new"]
        assert search.get(conn, job.id).priority == last


def test_change_a_job_or_let_it_be_claimed_and_never_both(waiting, at_once, register, conn):
    worker = register()
    for _ in range(20):
        job = waiting(queue="mail")

        def act(number, mine, job=job):
            if number == 0:
                return jobs.change(mine, job.id, Changes.of(queue="bulk", payload={"n": 2}))
            return queueing.claim(mine, worker_id=worker, claim_id=uuid4(), queues=("mail",))

        changed, claimed = at_once(2, act)

        now = search.get(conn, job.id)
        if isinstance(changed, InvalidTransition):
            assert (now.status, now.queue, now.payload) == (JobStatus.RUNNING, "mail", {"n": 1})
            assert [each.payload for each in claimed] == [{"n": 1}]
        else:
            assert (now.status, now.queue, now.payload, claimed) == (JobStatus.QUEUED, "bulk", {"n": 2}, [])


def test_wait_for_a_locked_row_and_give_up(waiting, open_conn, conn):
    job, rival = waiting(), open_conn()
    with rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [job.id])
        # In a transaction with a shorter patience, because the usual one is 3 s.
        with pytest.raises(sqlstate.LockNotAvailable), transaction(conn, lock_seconds=0.05):
            jobs.change(conn, job.id, Changes.of(priority=1))
        cursor.execute("ROLLBACK")

    assert jobs.change(conn, job.id, Changes.of(priority=1)).priority == 1


def test_keep_of_which_job_a_copy_is_when_it_ends_and_lives_again(waiting, claim, settle, conn):
    original = waiting()
    jobs.cancel(conn, original.id)
    copy = jobs.copy(conn, original.id)
    settle(claim(), Outcome.fail_for_good("no"))
    ended = search.get(conn, copy.id)

    again = jobs.retry(conn, copy.id)

    assert ended.copy_of == again.copy_of == original.id
    assert ended.status is JobStatus.FAILED_PERMANENT


def test_let_a_key_stand_for_a_job_that_was_changed(waiting, conn):
    job = waiting(idempotency_key="order-7")
    jobs.change(conn, job.id, Changes.of(payload={"n": 2}, queue="bulk"))

    [again] = queueing.enqueue(conn, [NewJob("mail", {"n": 1}, idempotency_key="order-7")])

    assert (again.receipt, again.job.payload) == (Receipt.REPLAYED, {"n": 2})


def test_retry_and_delete_at_once_leave_the_job_live_or_gone(waiting, at_once, conn):
    for _ in range(10):
        job = waiting()
        jobs.cancel(conn, job.id)

        at_once(4, lambda n, mine, job=job: (jobs.delete if n % 2 else jobs.retry)(mine, job.id))

        with suppress(JobNotFound):
            assert search.get(conn, job.id).status is JobStatus.QUEUED


@pytest.mark.parametrize("act", ["change", "retry"])
def test_let_a_job_be_found_in_its_new_queue_however_old_it_is(waiting, conn, sql, act):
    job = waiting(queue="mail")
    if act == "retry":
        jobs.cancel(conn, job.id)
    # Long ago, so that a look reads only the times in which something came, as it was counted.
    for table in ("job", "finished_job"):
        sql(f"UPDATE haulier.{table} SET created_at = now() - interval '5 days'")
    sql("INSERT INTO haulier.counting (through, folded, recounted) VALUES (now(), now(), now())")
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, arrived) VALUES"
        " (21600, now() - interval '9 days', 'mail', 'mail', 1), (21600, now() - interval '1 day', 'mail', 'mail', 1)"
    )
    # More others than the first statement of a look reads.
    sql("INSERT INTO haulier.job (kind, queue, payload) SELECT 'other', 'other', '{}' FROM generate_series(1, 2500)")

    getattr(jobs, act)(conn, job.id, Changes.of(queue="bulk"))

    assert found(conn, queues=["bulk"]) == found(conn, queues=["bulk"], kinds=["mail"]) == [job.id]


def test_forget_when_moved_jobs_came_once_the_numbers_of_then_are_forgotten(conn, sql):
    for days in (29, 32):
        sql("INSERT INTO haulier.moved VALUES (%s, 'mail', now() - make_interval(days => %s))", f"q{days}", days)
    counts.counting_ends_in(conn)

    counts.fold(conn, retention_days=30)

    assert sql("SELECT queue FROM haulier.moved") == [("q29",)]


def found(conn, **wanted):
    """Return the ids of all jobs of a filter; on a busy machine a page ends early."""
    ids, after = [], None
    while True:
        page = search.list_jobs(conn, JobFilter(**wanted, after=after))
        ids += [job.id for job in page.jobs]
        if (after := page.after) is None:
            return ids
