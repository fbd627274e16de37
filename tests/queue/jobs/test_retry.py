"""Cancel, retry, change, copy and delete, an operator's: they ..."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import (
    DatabaseUnavailable,
    InvalidTransition,
    JobChanged,
    JobNotFound,
    NotRetryable,
    RowRefused,
)
from haulier.domain.job import FINAL_STATUSES, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.errors import translated
from haulier.postgres.statements import transaction
from haulier.queue import claims, jobs, search
from haulier.queue.health import overview
from haulier.queue.jobs.change import Changes
from haulier.queue.numbers import counts
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.conftest import eventually, sql_on


def test_notifies_nobody_of_a_job_that_waited(enqueue, conn, sql):
    job = enqueue()
    sql("LISTEN haulier_cancel")

    jobs.cancel(conn, job.id)

    conn.poll()
    assert conn.notifies == []


@pytest.mark.parametrize("act", ["cancel", "retry"])
def test_loses_no_job_that_a_trigger_drops_on_its_way(enqueue, conn, sql, act):
    job = enqueue()
    if act == "retry":
        jobs.cancel(conn, job.id)
    before = search.get(conn, job.id)
    into = {"cancel": "finished_job", "retry": "job"}[act]
    sql("CREATE FUNCTION public.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    sql(f"CREATE TRIGGER drop_it BEFORE INSERT ON haulier.{into} FOR EACH ROW EXECUTE FUNCTION public.drop_it()")
    try:
        with pytest.raises(RowRefused, match=f"a trigger dropped job {job.id}"):
            getattr(jobs, act)(conn, job.id)
    finally:
        sql("DROP FUNCTION public.drop_it CASCADE")

    assert search.get(conn, job.id) == before


def test_lets_the_worker_know_what_to_stop(running, conn, worker):
    stopping, going_on = running(), running()

    jobs.cancel(conn, stopping.id)

    assert claims.cancelled(conn, worker) == [Fence.of(stopping)]
    held = claims.held(conn, worker, [stopping.claim, going_on.claim])
    assert {each.fence: each.cancel_requested for each in held} == {
        Fence.of(stopping): True,
        Fence.of(going_on): False,
    }


def test_refuses_a_job_that_has_ended(running, settle, conn):
    for status in FINAL_STATUSES:
        job = running()
        if status is JobStatus.CANCELLED:
            jobs.cancel(conn, job.id)
        settle(job, Outcome.fail_for_good("no") if status is JobStatus.FAILED_PERMANENT else Outcome.complete(1))
        ended = search.get(conn, job.id)

        with pytest.raises(InvalidTransition, match=f"cannot cancel job .*: its status is {status}"):
            jobs.cancel(conn, job.id)

        assert ended.status is status
        assert search.get(conn, job.id) == ended


def test_waits_for_a_settle_under_way_and_then_sees_where_the_job_went(
    running, open_conn, at_once, until_somebody_waits
):
    job, settling = running(), open_conn(autocommit=False)
    claims.settle(settling, [Settlement(Fence.of(job), Outcome.complete())])

    def cancel_or_commit(number: int, mine) -> object:
        if number == 0:
            return jobs.cancel(mine, job.id)
        until_somebody_waits()
        return settling.commit()

    refused, _ = at_once(2, cancel_or_commit)

    assert isinstance(refused, InvalidTransition)
    assert "succeeded" in str(refused)


def test_gives_up_if_the_row_stays_locked(enqueue, locked, conn):
    job = enqueue()

    # In a transaction of ours with a shorter patience, because the usual one is 3 s.
    with locked(job), pytest.raises(DatabaseUnavailable), translated(), transaction(conn, lock_seconds=0.05):
        jobs.cancel(conn, job.id)

    assert jobs.cancel(conn, job.id) is True


def test_races_with_settles_leave_each_job_one_end_and_readers_always_see_it_once(at_once, conn, sql, register):
    ids = [r.job.id for r in queueing.enqueue(conn, [NewJob("mail", {}, max_attempts=1000) for _ in range(120)])]
    over, accepted, workers = threading.Event(), set(), [register() for _ in range(4)]

    def work(number: int, mine: Connection) -> None:
        """Claim and settle, in no order and with every outcome."""
        rng = random.Random(number)
        while not over.is_set():
            claimed = queueing.claim(mine, worker_id=workers[number], claim_id=uuid4(), queues=(), limit=7)
            rng.shuffle(claimed)
            ends = [Outcome.complete(1), Outcome.fail("no luck", delay=0), Outcome.release(), Outcome.snooze(0)]
            claims.settle(mine, [Settlement(Fence.of(job), rng.choice(ends)) for job in claimed])

    def cancel(number: int, mine: Connection) -> None:
        for job_id in random.Random(number).sample(ids, len(ids) * 2 // 3):
            with suppress(InvalidTransition):
                jobs.cancel(mine, job_id)
                accepted.add(job_id)

    def read(_: int, mine: Connection) -> None:
        """Look whether each job is always there, and once."""
        seen = "SELECT count(*), count(DISTINCT id) FROM haulier.jobs WHERE id = ANY(%s)"
        while not over.is_set():
            assert sql_on(mine)(seen, ids) == [(len(ids), len(ids))]

    def watch(_: int, mine: Connection) -> None:
        try:
            eventually(lambda: overview.overview(mine).depths == [])
        finally:
            over.set()

    roles = [work] * 4 + [cancel] * 3 + [read] * 2 + [watch]
    assert at_once(10, lambda number, mine: roles[number](number, mine)) == [None] * 10
    ended = {job_id: search.get(conn, job_id) for job_id in ids}
    assert all(job.status.is_final for job in ended.values())
    # A cancel that was accepted has won, and no other job was cancelled.
    assert {job_id for job_id, job in ended.items() if job.status is JobStatus.CANCELLED} == accepted
    assert sorted(sql("SELECT id FROM haulier.finished_job")) == sorted((job_id,) for job_id in ids)


# --- Retry


@pytest.fixture
def failed(running, settle, conn):
    def failed(**options):
        job = running(max_attempts=2, **options)
        settle(job, Outcome.fail_for_good("first failure"))
        return search.get(conn, job.id)

    return failed


def test_refuses_a_job_that_succeeded_or_still_lives(running, enqueue, settle, conn):
    queued, retrying, held, succeeded = enqueue(delay=timedelta(hours=1)), running(), running(), running()
    settle(retrying, Outcome.fail("no luck", delay=60))
    settle(succeeded, Outcome.complete())

    for job, status in ((queued, "queued"), (retrying, "retrying"), (held, "running"), (succeeded, "succeeded")):
        with pytest.raises(InvalidTransition, match=f"cannot retry job .*: its status is {status}"):
            jobs.retry(conn, job.id)


def test_brings_the_job_back_once_if_many_ask_at_once(failed, at_once, sql):
    ended = failed()

    answers = at_once(8, lambda number, mine: jobs.retry(mine, ended.id))

    refused = [answer for answer in answers if isinstance(answer, InvalidTransition)]
    assert len(refused) == 7
    assert all("its status is queued" in str(error) for error in refused)
    assert sql("SELECT id, status FROM haulier.jobs") == [(ended.id, "queued")]


@pytest.mark.parametrize("rival", [jobs.cancel, jobs.delete])
def test_does_not_mix_with_a_cancel_or_delete_at_that_moment(failed, at_once, sql, rival):
    for _ in range(10):
        ended = failed()

        answers = at_once(4, lambda n, mine, job=ended: (rival if n % 2 else jobs.retry)(mine, job.id))

        problems = [each for each in answers if isinstance(each, Exception)]
        assert {type(each) for each in problems} <= {InvalidTransition, JobChanged, JobNotFound}
        left = sql("SELECT status FROM haulier.jobs WHERE id = %s", ended.id)
        assert len(left) == 1 if rival is jobs.cancel else left in ([], [("queued",)])
        sql("DELETE FROM haulier.job")


def test_refuses_a_job_whose_id_another_one_has_live_or_ended(failed, claim, settle, sql, conn):
    ended = failed()
    sql("INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'mail', '{}') RETURNING 1", ended.id)
    with pytest.raises(NotRetryable, match="another job has the same id"):
        jobs.retry(conn, ended.id)
    assert sql("SELECT status FROM haulier.jobs ORDER BY status") == [("failed_permanent",), ("queued",)]

    assert settle(claim(), Outcome.fail_for_good("no")) is JobStatus.FAILED_PERMANENT

    with pytest.raises(NotRetryable, match="another job has the same id"):
        jobs.retry(conn, ended.id)
    assert sql("SELECT count(*) FROM haulier.jobs WHERE id = %s", ended.id) == [(2,)]
    sql("INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'mail', '{}') RETURNING 1", ended.id)
    assert jobs.cancel(conn, ended.id) is True


def test_refuses_a_row_of_history_that_was_never_a_job(failed, sql, conn):
    ended = failed()
    sql("UPDATE haulier.finished_job SET kind = 'No Kind' RETURNING 1")

    with pytest.raises(RowRefused, match="kind_is_a_name"), translated():
        jobs.retry(conn, ended.id)


# --- Change, copy and delete


AUDIT = "SELECT action, job_id, details FROM haulier.audit ORDER BY id"


@pytest.fixture
def waiting(enqueue):
    return lambda **options: enqueue(**{"payload": {"n": 1}, **options})


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
        with pytest.raises(InvalidTransition, match="cannot change job .*: its status is"):
            jobs.change(conn, job.id, Changes.of(priority=1))
    for job in (runs, waits):
        with pytest.raises(InvalidTransition, match="cannot delete job .*: its status is"):
            jobs.delete(conn, job.id)

    assert {job_id: search.get(conn, job_id) for job_id in before} == before
    assert sql(AUDIT) == []


def test_know_no_job_that_is_not_there_or_in_no_queue_of_the_caller(waiting, conn):
    live, ended = waiting(queue="mail"), waiting(queue="mail")
    jobs.change(conn, live.id, Changes.of(queue="bulk"))
    jobs.cancel(conn, ended.id)
    before = [search.get(conn, job.id).read() for job in (live, ended)]

    for act in (jobs.change, jobs.retry, jobs.copy, jobs.cancel, jobs.delete):
        changes = [Changes.of(priority=1)] if act in (jobs.change, jobs.retry, jobs.copy) else []
        for job_id, queues in ((uuid4(), None), (live.id, ["mail"]), (live.id, []), (ended.id, ["bulk"])):
            with pytest.raises(JobNotFound):
                act(conn, job_id, *changes, queues=queues)

    assert [search.get(conn, job.id).read() for job in (live, ended)] == before


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
