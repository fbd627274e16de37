"""Failed attempts, counted by the transaction that settles them: it ..."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.errors import RefusedForNow
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.connection import connect
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from tests import queueing
from tests.conftest import sql_on

NAME = "dock:7"
IDS = "SELECT id, error_id FROM haulier.job UNION ALL SELECT id, error_id FROM haulier.finished_job"
COUNTS = "SELECT error_id, queue, sum(failed)::integer, sum(retried)::integer FROM haulier.error_count GROUP BY 1, 2"
GROUPS = "SELECT id, kind, text, example, example_job, example_queue FROM haulier.error_group ORDER BY text"


def failed(job, outcome: Outcome, error: str | None = None) -> Settlement:
    text = error or outcome.error
    return Settlement(Fence.of(job), outcome, failure=Failure(fingerprint(job.kind, text), job.queue, text))


@pytest.fixture
def settle_all(request, conn) -> Callable[..., list[JobStatus | None]]:
    """Give a function that settles, in the way that `in_each_way` names or else each by itself."""
    way = getattr(request, "param", "each")

    def settle_all(*settlements: Settlement) -> list[JobStatus | None]:
        if way == "together":
            found = claims.settle(conn, settlements, worker_name=NAME)
            return [found.get(each.fence.id) for each in settlements]
        if way == "each":
            return claims.settle_each(conn, settlements, worker_name=NAME)
        return claims.settle_and_claim(conn, settlements, None, worker_name=NAME)[0]

    return settle_all


in_each_way = pytest.mark.parametrize("settle_all", ["together", "each", "with a claim"], indirect=True)


@in_each_way
def test_counts_what_is_to_be_tried_again_and_what_has_failed_for_good(running, settle_all, sql):
    one, two, three, four = running(), running(queue="bulk"), running(max_attempts=1), running(kind="hook")
    ok = running()

    settle_all(
        Settlement(Fence.of(ok), Outcome.complete()),
        failed(one, Outcome.fail("no luck 1", delay=1)),
        failed(two, Outcome.fail("no luck 2", delay=1)),
        failed(three, Outcome.fail("no luck 3", delay=1)),
        failed(four, Outcome.fail_for_good("no luck 4")),
    )

    mail, hook = fingerprint("mail", "no luck 1"), fingerprint("hook", "no luck 1")
    assert sorted(sql(COUNTS)) == sorted(
        [(mail.id, "default", 1, 1), (mail.id, "bulk", 0, 1), (hook.id, "default", 1, 0)]
    )
    assert sorted(sql(GROUPS)) == sorted(
        [
            (mail.id, "mail", "no luck …", "no luck 1", one.id, "default"),
            (hook.id, "hook", "no luck …", "no luck 4", four.id, "default"),
        ]
    )
    assert sorted(sql(IDS)) == sorted(
        [(one.id, mail.id), (two.id, mail.id), (three.id, mail.id), (four.id, hook.id), (ok.id, None)]
    )


def test_adds_up_and_keeps_the_first_example(running, settle_all, sql, make_due, claim):
    job = running(max_attempts=9)
    settle_all(failed(job, Outcome.fail("no luck 1", delay=0)))
    [first] = sql(GROUPS)
    make_due(job)

    settle_all(failed(claim(), Outcome.fail("no luck 2", delay=0)))

    assert [row[2:] for row in sql(COUNTS)] == [(0, 2)]
    assert sql(GROUPS) == [first]


@in_each_way
def test_notes_when_each_attempt_began_and_whose_it_was(running, settle_all, conn, make_due, claim):
    first, ok, lost = running(), running(), running(max_attempts=9)
    settle_all(Settlement(Fence.of(ok), Outcome.complete()), failed(first, Outcome.fail("one", delay=0)))
    make_due(first)
    second = claim()

    settle_all(failed(second, Outcome.fail_for_good("two")), failed(lost, Outcome.fail("three", delay=9)).uncounted)

    noted = search.get(conn, first.id).errors
    assert [entry["worker"] for entry in noted] == [NAME, NAME]
    assert [datetime.fromisoformat(entry["started_at"]) for entry in noted] == [first.started_at, second.started_at]
    assert all(entry["started_at"] < entry["at"] for entry in noted)
    assert search.get(conn, ok.id).errors == []
    # The same is noted of a failure that is not counted.
    [uncounted] = search.get(conn, lost.id).errors
    assert (uncounted["worker"], datetime.fromisoformat(uncounted["started_at"])) == (NAME, lost.started_at)


def test_counts_nothing_of_a_claim_that_is_no_longer_the_current_one(running, settle_all, sql):
    job = running()
    stale = Settlement(Fence.of(job)._replace(claim=uuid4()), Outcome.fail("no luck", delay=1))
    stale = stale._replace(failure=Failure(fingerprint("mail", "no luck"), "default", "no luck"))

    assert settle_all(stale) == [None]

    assert sql(COUNTS) == sql(GROUPS) == []


def test_counts_nothing_of_what_a_cancel_overrules(running, settle_all, sql, conn):
    job = running()
    job_acts.cancel(conn, job.id)

    assert settle_all(failed(job, Outcome.fail("no luck", delay=1))) == [JobStatus.CANCELLED]

    assert sql(COUNTS) == sql(GROUPS) == []
    assert sql("SELECT error_id FROM haulier.finished_job") == [(None,)]


def test_of_a_job_that_then_succeeds_keeps_the_count_and_not_the_id(running, settle_all, sql, make_due, claim):
    job = running()
    settle_all(failed(job, Outcome.fail("no luck", delay=0)))
    make_due(job)

    settle_all(Settlement(Fence.of(claim()), Outcome.complete()))

    assert [row[2:] for row in sql(COUNTS)] == [(0, 1)]
    assert sql("SELECT status, error_id FROM haulier.finished_job") == [("succeeded", None)]


@pytest.mark.parametrize(
    "fault",
    [
        "ALTER TABLE haulier.error_count RENAME TO error_count_away",
        "ALTER TABLE haulier.error_group ADD CHECK (text <> 'no luck')",
        "ALTER TABLE haulier.job DROP COLUMN error_id CASCADE",
    ],
)
def test_settles_even_if_the_failure_cannot_be_counted(fault, migrated_database):
    with closing(connect(migrated_database)) as conn:
        sql = sql_on(conn)
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
        queueing.enqueue(conn, [NewJob("mail", {}), NewJob("mail", {})])
        jobs = [queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())[0] for _ in range(2)]
        sql(fault)
        complaints: list[Any] = []

        became = claims.settle_each(
            conn,
            [failed(jobs[0], Outcome.fail("no luck", delay=9)), Settlement(Fence.of(jobs[1]), Outcome.complete())],
            uncounted=complaints.append,
        )

    assert became == [JobStatus.RETRYING, JobStatus.SUCCEEDED]
    assert len(complaints) == 1


def test_waits_only_for_a_moment_for_a_lock_on_the_counts(running, conn, open_conn):
    job, rival, complaints = running(), open_conn(), []
    with rival.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.error_group")

        became = claims.settle_each(
            conn, [failed(job, Outcome.fail("no luck", delay=9))], seconds=2, uncounted=complaints.append
        )

        cursor.execute("ROLLBACK")
    assert became == [JobStatus.RETRYING]
    [refused] = complaints
    assert isinstance(refused, RefusedForNow)


def test_two_that_bring_the_same_new_groups_at_once_both_count(enqueue, claim, at_once, sql):
    jobs = [enqueue(kind=f"k{number % 5}") for number in range(40)]
    claimed = [claim() for _ in jobs]
    parts = [claimed[number::4] for number in range(4)]

    results = at_once(
        4,
        lambda number, mine: claims.settle_each(
            mine, [failed(each, Outcome.fail("no", delay=9)) for each in parts[number]]
        ),
    )

    assert {status for result in results for status in result} == {JobStatus.RETRYING}
    assert sorted(row[3] for row in sql(COUNTS)) == [8] * 5
    assert len(sql(GROUPS)) == 5


def test_counts_a_crash_and_a_snooze_too_many(running, register, let_lease_run_out, conn, sql, settle_all):
    dead = register()
    orphan = running(by=dead)
    let_lease_run_out(dead)
    queueing.rescue(conn)
    sql("UPDATE haulier.job SET run_at = now() + interval '1 hour' WHERE id = %s", orphan.id)
    snoozer = running()
    sql("UPDATE haulier.job SET snoozes = 100 WHERE id = %s", snoozer.id)

    settle_all(failed(snoozer, Outcome(Verb.SNOOZE, delay=1.0), "snoozed more than 100 times"))

    assert [row[2] for row in sql(GROUPS)] == [
        "snoozed more than … times",
        "the worker process running this job died or lost its lease (… times so far)",
    ]
    assert sorted(row[2:] for row in sql(COUNTS)) == [(0, 1), (1, 0)]
    assert sql("SELECT count(*) FROM haulier.job WHERE error_id IS NOT NULL") == [(1,)]


def test_the_example_is_of_an_attempt_that_was_counted(running, conn, sql):
    lost, counted = running(queue="bulk"), running()
    stale = failed(lost, Outcome.fail("no luck 1", delay=9))
    stale = stale._replace(fence=stale.fence._replace(claim=uuid4()))

    claims.settle(conn, [stale, failed(counted, Outcome.fail("no luck 2", delay=9))])

    assert sql("SELECT example, example_job, example_queue FROM haulier.error_group") == [
        # The first error text is of the stale claim; the group text is common to both.
        ("no luck …", counted.id, "default")
    ]
