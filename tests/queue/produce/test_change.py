"""Change, copy and delete, an operator's: they ..."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from haulier.domain.errors import InvalidTransition, JobChanged, JobNotFound, TooFewAttempts
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import LOCK_SECONDS
from haulier.queue import produce
from haulier.queue.produce import Changes
from haulier.queue.produce.draft import Receipt
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.upkeep import numbers
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


def test_change_what_is_told_and_nothing_else(waiting, conn, sql):
    job = waiting(queue="mail", tags=["a"], timeout_seconds=9, idempotency_key="order-7")

    changed = produce.change(
        conn,
        job.id,
        Changes.of(queue="bulk", priority=-7, run_at="2030-01-01T00:00:00Z", max_attempts=9, tags=[], payload={"n": 2}),
        actor="ann",
    )

    told = (changed.queue, changed.priority, changed.run_at, changed.max_attempts, list(changed.tags), changed.payload)
    assert told == ("bulk", -7, LATER, 9, [], {"n": 2})
    assert (changed.timeout_seconds, changed.idempotency_key, changed.created_at) == (9, "order-7", job.created_at)
    assert changed.updated_at > job.updated_at
    assert produce.get(conn, job.id).read() == changed.read()
    [(action, job_id, details)] = sql(AUDIT)
    assert (action, str(job_id)) == ("change", str(job.id))
    run_at = details["changes"].pop("run_at")
    assert details == {
        "kind": "mail",
        "changes": {
            "queue": {"old": "mail", "new": "bulk"},
            "priority": {"old": 0, "new": -7},
            "max_attempts": {"old": 3, "new": 9},
            "tags": {"old": ["a"], "new": []},
            "payload": {},
        },
    }
    assert run_at["new"] == "2030-01-01T00:00:00.000000Z"


def test_change_no_row_and_leave_no_record_where_nothing_differs(waiting, conn, sql):
    job = waiting(tags=["a"])

    same = produce.change(conn, job.id, Changes.of(queue="default", priority=0, tags=["a"], payload={"n": 1}))

    assert same.updated_at == job.updated_at
    assert sql(AUDIT) == []


@pytest.mark.parametrize("changes", [{"run_at": "2020-01-01T00:00:00Z"}, {"delay_seconds": 0}])
def test_take_a_time_that_has_passed_as_now(waiting, conn, changes):
    job = waiting(delay=timedelta(hours=1))

    changed = produce.change(conn, job.id, Changes.of(**changes))

    assert abs(changed.run_at - job.created_at) < timedelta(minutes=1)


def test_change_a_job_that_is_to_be_tried_again(running, settle, conn):
    job = running(max_attempts=3)
    settle(job, Outcome.fail("no luck", delay=60))

    changed = produce.change(conn, job.id, Changes.of(delay_seconds=0))

    assert (changed.status, changed.attempts, changed.last_error) == (JobStatus.RETRYING, 1, "no luck")


@pytest.mark.parametrize("end", [None, Outcome.complete(), Outcome.fail_for_good("no")])
def test_change_no_job_that_runs_or_has_ended(running, settle, conn, sql, end):
    job = running()
    if end:
        settle(job, end)
    before = produce.get(conn, job.id)

    with pytest.raises(InvalidTransition, match="cannot change when status="):
        produce.change(conn, job.id, Changes.of(priority=1))

    assert produce.get(conn, job.id) == before
    assert sql(AUDIT) == []


@pytest.mark.parametrize("act", [produce.change, produce.retry, produce.copy])
def test_know_no_job_that_is_not_there_or_in_no_queue_of_the_caller(waiting, conn, act):
    job = waiting()

    for job_id, queues in ((uuid4(), None), (job.id, ["mail"]), (job.id, [])):
        with pytest.raises(JobNotFound):
            act(conn, job_id, Changes.of(priority=1), queues=queues)
    for queues in (["mail"], []):
        with pytest.raises(JobNotFound):
            produce.cancel(conn, job.id, queues=queues)
    with pytest.raises(JobNotFound):
        produce.delete(conn, uuid4())

    assert produce.get(conn, job.id).read() == job.read()


def test_look_at_the_queue_in_which_the_job_is_then(waiting, conn):
    job = waiting(queue="mail")
    produce.change(conn, job.id, Changes.of(queue="bulk"))

    for act in (produce.change, produce.copy):
        with pytest.raises(JobNotFound):
            act(conn, job.id, Changes.of(priority=1), queues=["mail"])
    with pytest.raises(JobNotFound):
        produce.cancel(conn, job.id, queues=["mail"])
    produce.cancel(conn, job.id, queues=["bulk"])
    for act in (produce.retry, produce.delete):
        with pytest.raises(JobNotFound):
            act(conn, job.id, queues=["mail"])

    assert produce.retry(conn, job.id, queues=["bulk"]).queue == "bulk"


@pytest.mark.parametrize("act", [produce.change, produce.copy])
def test_do_nothing_where_the_payload_is_not_the_one_that_was_seen(waiting, conn, sql, act):
    job = waiting()
    seen = produce.get(conn, job.id).payload_hash
    other = Changes.of(payload={"n": 2}).fields

    assert act(conn, job.id, Changes(other, seen)).payload == {"n": 2}
    produce.change(conn, job.id, Changes.of(payload={"n": 3}))
    with pytest.raises(JobChanged):
        act(conn, job.id, Changes(other, seen))

    assert produce.get(conn, job.id).payload == {"n": 3}


def test_leave_a_job_more_attempts_than_it_has_used(running, settle, conn):
    job = running(max_attempts=3)
    settle(job, Outcome.fail("no luck", delay=60))

    with pytest.raises(TooFewAttempts):
        produce.change(conn, job.id, Changes.of(max_attempts=1))

    assert produce.get(conn, job.id).max_attempts == 3
    assert produce.change(conn, job.id, Changes.of(max_attempts=2)).max_attempts == 2


def test_change_a_job_once_beside_cancels_and_other_changes(waiting, at_once, conn, sql):

    for _ in range(10):
        job = waiting()

        def act(number, mine, job=job):
            if number == 0:
                return produce.cancel(mine, job.id)
            return produce.change(mine, job.id, Changes.of(priority=number)).priority

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
        assert produce.get(conn, job.id).priority == last


def test_change_a_job_or_let_it_be_claimed_and_never_both(waiting, at_once, register, conn):
    worker = register()
    for _ in range(20):
        job = waiting(queue="mail")

        def act(number, mine, job=job):
            if number == 0:
                return produce.change(mine, job.id, Changes.of(queue="bulk", payload={"n": 2}))
            return queueing.claim(mine, worker_id=worker, claim_id=uuid4(), queues=("mail",))

        changed, claimed = at_once(2, act)

        now = produce.get(conn, job.id)
        if isinstance(changed, InvalidTransition):
            assert (now.status, now.queue, now.payload) == (JobStatus.RUNNING, "mail", {"n": 1})
            assert [each.payload for each in claimed] == [{"n": 1}]
        else:
            assert (now.status, now.queue, now.payload, claimed) == (JobStatus.QUEUED, "bulk", {"n": 2}, [])


def test_wait_for_a_row_that_somebody_holds_and_no_longer_than_a_cancel_does(waiting, open_conn, conn):
    job, rival = waiting(), open_conn()
    with rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [job.id])
        began = time.monotonic()
        with pytest.raises(sqlstate.LockNotAvailable):
            produce.change(conn, job.id, Changes.of(priority=1))
        cursor.execute("ROLLBACK")

    assert time.monotonic() - began < LOCK_SECONDS + 20


def test_retry_with_changes_and_keep_the_original_on_record(running, settle, conn, sql):
    job = running(queue="mail", payload={"n": 1})
    settle(job, Outcome.fail_for_good("no"))
    noted = Changes("{}", None, '{"old": {"n": 1}, "new": {"n": 2}}').noted

    back = produce.retry(conn, job.id, Changes(Changes.of(payload={"n": 2}, queue="bulk").fields, None, noted))

    assert (back.status, back.payload, back.queue, back.attempts) == (JobStatus.QUEUED, {"n": 2}, "bulk", 0)
    [(action, _, details)] = sql(AUDIT)
    assert action == "retry"
    assert details["changes"] == {
        "payload": {"old": {"n": 1}, "new": {"n": 2}},
        "queue": {"old": "mail", "new": "bulk"},
    }


def test_copy_a_job_as_a_fresh_one_whatever_became_of_it(running, settle, conn, sql):
    original = running(
        queue="mail", priority=5, max_attempts=7, timeout_seconds=60, payload={"n": 1}, tags=["a"], idempotency_key="k"
    )
    copies = [produce.copy(conn, original.id, actor="ann")]
    settle(original, Outcome.fail_for_good("no"))
    copies.append(produce.copy(conn, original.id, Changes.of(priority=6)))

    for copy in copies:
        assert (copy.status, copy.kind, copy.queue, copy.max_attempts) == (JobStatus.QUEUED, original.kind, "mail", 7)
        assert (copy.timeout_seconds, copy.payload, list(copy.tags)) == (60, {"n": 1}, ["a"])
        assert (copy.idempotency_key, copy.attempts, copy.attempt, copy.errors) == (None, 0, 0, [])
        assert copy.copy_of == original.id == produce.get(conn, copy.id).copy_of
    assert [copy.priority for copy in copies] == [5, 6]
    assert sql(AUDIT) == [
        ("copy", original.id, {"kind": original.kind, "copy": str(copies[0].id), "changes": {}}),
        (
            "copy",
            original.id,
            {"kind": original.kind, "copy": str(copies[1].id), "changes": {"priority": {"old": 5, "new": 6}}},
        ),
    ]


def test_keep_of_which_job_a_copy_is_when_it_ends_and_lives_again(waiting, claim, settle, conn):
    original = waiting()
    produce.cancel(conn, original.id)
    copy = produce.copy(conn, original.id)
    settle(claim(), Outcome.fail_for_good("no"))
    ended = produce.get(conn, copy.id)

    again = produce.retry(conn, copy.id)

    assert ended.copy_of == again.copy_of == original.id
    assert ended.status is JobStatus.FAILED_PERMANENT


def test_delete_a_job_that_has_ended_and_tell_what_it_was(running, settle, conn, sql):
    job = running(queue="mail")
    settle(job, Outcome.complete())

    produce.delete(conn, job.id, actor="ann")

    with pytest.raises(JobNotFound):
        produce.get(conn, job.id)
    [(action, job_id, details)] = sql(AUDIT)
    assert (action, job_id) == ("delete", job.id)
    assert details == {
        "kind": job.kind,
        "queue": "mail",
        "status": "succeeded",
        "created_at": f"{job.created_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
    }


@pytest.mark.parametrize("is_running", [False, True])
def test_delete_no_live_job(waiting, claim, conn, sql, is_running):
    job = waiting()
    if is_running:
        claim()

    with pytest.raises(InvalidTransition, match="cannot delete when status="):
        produce.delete(conn, job.id)

    assert produce.get(conn, job.id).id == job.id
    assert sql(AUDIT) == []


def test_let_the_key_of_a_deleted_job_stand_for_it(waiting, conn):
    job = waiting(idempotency_key="order-7")
    produce.cancel(conn, job.id)
    produce.delete(conn, job.id)

    [again] = queueing.enqueue(conn, [NewJob("mail", {"n": 1}, idempotency_key="order-7")])

    assert again.receipt is Receipt.GONE


def test_let_a_key_stand_for_a_job_that_was_changed(waiting, conn):
    job = waiting(idempotency_key="order-7")
    produce.change(conn, job.id, Changes.of(payload={"n": 2}, queue="bulk"))

    [again] = queueing.enqueue(conn, [NewJob("mail", {"n": 1}, idempotency_key="order-7")])

    assert (again.receipt, again.job.payload) == (Receipt.REPLAYED, {"n": 2})


def test_retry_and_delete_at_once_leave_the_job_live_or_gone(waiting, at_once, conn):
    for _ in range(10):
        job = waiting()
        produce.cancel(conn, job.id)

        at_once(4, lambda n, mine, job=job: (produce.delete if n % 2 else produce.retry)(mine, job.id))

        with suppress(JobNotFound):
            assert produce.get(conn, job.id).status is JobStatus.QUEUED


@pytest.mark.parametrize("act", ["change", "retry"])
def test_let_a_job_be_found_in_the_queue_that_it_was_moved_to_however_long_ago_it_came(waiting, conn, sql, act):
    job = waiting(queue="mail")
    if act == "retry":
        produce.cancel(conn, job.id)
    # Long ago, so that a look reads only the times in which something came, as it was counted.
    for table in ("job", "finished_job"):
        sql(f"UPDATE haulier.{table} SET created_at = now() - interval '5 days'")
    sql("INSERT INTO haulier.counting (through, folded, recounted) VALUES (now(), now(), now())")
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, arrived) VALUES"
        " (21600, now() - interval '9 days', 'mail', 'mail', 1), (21600, now() - interval '1 day', 'mail', 'mail', 1)"
    )
    # The first statement of a look finds so many others.
    sql("INSERT INTO haulier.job (kind, queue, payload) SELECT 'other', 'other', '{}' FROM generate_series(1, 2500)")

    getattr(produce, act)(conn, job.id, Changes.of(queue="bulk"))

    assert found(conn, queues=["bulk"]) == found(conn, queues=["bulk"], kinds=["mail"]) == [job.id]


def test_forget_when_moved_jobs_came_once_the_numbers_of_then_are_forgotten(conn, sql):
    for days in (29, 32):
        sql("INSERT INTO haulier.moved VALUES (%s, 'mail', now() - make_interval(days => %s))", f"q{days}", days)
    numbers.counting_ends_in(conn)

    numbers.fold(conn, retention_days=30)

    assert sql("SELECT queue FROM haulier.moved") == [("q29",)]


def found(conn, **wanted):
    """Return the ids of all jobs of a filter; on a busy machine a page ends early."""
    ids, after = [], None
    while True:
        page = produce.list_jobs(conn, JobFilter(**wanted, after=after))
        ids += [job.id for job in page.jobs]
        if (after := page.after) is None:
            return ids
