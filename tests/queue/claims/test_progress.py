"""What is written beside a claim and its settle: progress, and failed attempts. It ..."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.errors import Locked, RefusedForNow
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.domain.progress import Progress
from haulier.postgres.errors import translated
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.upkeep.purge import purge_progress
from tests import queueing


def word(done: float, total: float | None = None, note: str | None = None, *, ago: float = 0.0) -> Progress:
    return Progress(done, total, note, time.monotonic() - ago)


@pytest.fixture
def write(conn):
    """Give a function that writes what was said of jobs, in the name of the worker that has claimed each."""

    def write(*said, by=None, over=()):
        for job, progress in said:
            claims.write_progress(conn, by or job.worker_id, {Fence.of(job): progress}, seconds=2)
        if over:
            claims.write_progress(conn, by, {}, over=over, seconds=2)

    return write


@pytest.fixture
def shown(conn):
    def shown(job) -> Any:
        found = search.get(conn, job.id).progress
        return found and (found["done"], found["total"], found["note"])

    return shown


def test_shows_each_running_job_with_what_its_handler_said_last(running, conn, worker, shown):
    first, second, silent = running(), running(), running()

    claims.write_progress(conn, worker, {Fence.of(first): word(1), Fence.of(second): word(0.5, 2, "ä")}, seconds=2)
    claims.write_progress(conn, worker, {Fence.of(first): word(7, 2**53)}, seconds=2)

    assert [shown(job) for job in (first, second, silent)] == [(7, 2**53, None), (0.5, 2, "ä"), None]
    listed = {job.id: job.progress for job in search.list_jobs(conn, search.JobFilter()).jobs}
    assert {id: progress and progress["done"] for id, progress in listed.items()} == {
        first.id: 7,
        second.id: 0.5,
        silent.id: None,
    }


def test_reports_when_it_was_said_by_the_databases_clock(running, write, conn, sql):
    job = running()

    write((job, word(1, ago=3600)))

    at = search.get(conn, job.id).progress["at"]
    assert at.endswith("Z")
    [[now]] = sql("SELECT now()")
    assert 3540 < (now.astimezone(UTC) - datetime.fromisoformat(at)).total_seconds() < 3660


def test_stores_any_text_and_nulls_however_a_role_reads_arrays(running, write, shown, sql):
    job = running()

    write((job, word(1, note='nul \x00, alone \ud800, "quoted" {NULL} \\')))

    assert shown(job) == (1, None, 'nul \ufffd, alone ?, "quoted" {NULL} \\')
    sql("SET array_nulls = off")
    write((job, word(2)))
    assert shown(job) == (2, None, None)


def test_a_stale_worker_changes_nothing_that_the_new_one_wrote(running, register, claim, conn, write, shown):
    stale = running()
    write((stale, word(50)))
    claims.settle(conn, [Settlement(Fence.of(stale), Outcome.release())])
    fresh = claim(register())
    assert fresh.id == stale.id
    before = shown(fresh)
    write((fresh, word(1)))

    write((stale, word(51)))

    assert (before, shown(fresh)) == (None, (1, None, None))


def test_writes_nothing_for_an_ended_claim_or_without_the_whole_fence(running, settle, register, conn, sql):
    job, over = running(), [running() for _ in range(4)]
    fence = Fence.of(job)
    ends = (Outcome.complete(), Outcome.fail("x", 0), Outcome.release(), Outcome.snooze(0))
    for each, outcome in zip(over, ends, strict=True):
        settle(each, outcome)

    for worker, wrong in (
        *((each.worker_id, Fence.of(each)) for each in over),
        (register(), fence),
        (job.worker_id, fence._replace(attempt=2)),
        (job.worker_id, fence._replace(claim=uuid4())),
    ):
        claims.write_progress(conn, worker, {wrong: word(1)}, seconds=2)

    assert sql("SELECT count(*) FROM haulier.progress") == [(0,)]


def test_shows_nothing_of_a_job_that_does_not_run(running, settle, write, shown):
    for outcome in (Outcome.complete(), Outcome.fail("no luck", 60), Outcome.release(60)):
        job = running()
        write((job, word(1)))
        settle(job, outcome)
        assert shown(job) is None


def test_takes_away_what_was_said_under_a_claim_that_has_ended(running, settle, worker, write, sql):
    ended, other = running(), running()
    write((ended, word(1)), (other, word(2)))
    settle(ended, Outcome.complete())

    write(by=worker, over=[Fence.of(ended)])

    assert sql("SELECT job_id FROM haulier.progress") == [(other.id,)]


def test_neither_waits_for_a_locked_job_nor_locks_one(running, locked, open_conn, conn, worker):
    job, rival = running(), open_conn()
    with locked(job):
        claims.write_progress(conn, worker, {Fence.of(job): word(1)}, seconds=2)
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        claims.write_progress(conn, worker, {Fence.of(job): word(2)}, seconds=2)
        # Settles leave out what is locked.
        settled = claims.settle(rival, [Settlement(Fence.of(job), Outcome.complete())], lock_seconds=0)
        cursor.execute("COMMIT")

    assert settled == {job.id: JobStatus.SUCCEEDED}


def test_gives_up_soon_if_the_table_is_locked(running, holding, conn, worker):
    job = running()
    began = time.monotonic()

    with holding("LOCK TABLE haulier.progress"), pytest.raises(Locked), translated():
        claims.write_progress(conn, worker, {Fence.of(job): word(1)}, seconds=60)

    assert time.monotonic() - began < 30


def test_purge_forgets_what_no_running_claim_has_said(running, settle, write, sql, conn):
    ended, retrying, still = running(), running(), running()
    write(*((job, word(1)) for job in (ended, retrying, still)))
    settle(ended, Outcome.complete())
    settle(retrying, Outcome.fail("no luck", 60))

    forgotten = purge_progress(conn)

    assert forgotten == 2
    assert sql("SELECT job_id FROM haulier.progress") == [(still.id,)]


# --- Failed attempts


NAME = "dock:7"
IDS = "SELECT id, error_id FROM haulier.job UNION ALL SELECT id, error_id FROM haulier.finished_job"
COUNTS = "SELECT error_id, queue, sum(failed)::integer, sum(retried)::integer FROM haulier.error_count GROUP BY 1, 2"
GROUPS = "SELECT id, kind, text, example, example_job, example_queue FROM haulier.error_group ORDER BY text"


def failed(job, outcome: Outcome, error: str | None = None) -> Settlement:
    text = error or outcome.error
    return Settlement(Fence.of(job), outcome, failure=Failure(fingerprint(job.kind, text), job.queue, text))


@pytest.fixture
def settle_all(request, conn):
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


def test_counts_nothing_of_what_a_cancel_overrules(running, settle_all, sql, conn):
    job = running()
    job_acts.cancel(conn, job.id)

    assert settle_all(failed(job, Outcome.fail("no luck", delay=1))) == [JobStatus.CANCELLED]

    assert sql(COUNTS) == sql(GROUPS) == []
    assert sql("SELECT error_id FROM haulier.finished_job") == [(None,)]


@pytest.mark.parametrize(
    "fault",
    [
        "ALTER TABLE haulier.error_count RENAME TO error_count_away",
        "ALTER TABLE haulier.error_group ADD CHECK (text <> 'no luck')",
        "ALTER TABLE haulier.job ADD CHECK (error_id IS NULL)",
    ],
)
def test_settles_even_if_the_failure_cannot_be_counted(fault, archive):
    fails, succeeds = archive.running(), archive.running()
    archive.sql(fault)
    complaints: list[Any] = []

    became = claims.settle_each(
        archive.conn,
        [failed(fails, Outcome.fail("no luck", delay=9)), Settlement(Fence.of(succeeds), Outcome.complete())],
        uncounted=complaints.append,
    )

    assert became == [JobStatus.RETRYING, JobStatus.SUCCEEDED]
    assert len(complaints) == 1


def test_waits_only_for_a_moment_for_a_lock_on_the_counts(running, conn, holding):
    complaints, failure = [], failed(running(), Outcome.fail("no luck", delay=9))

    with holding("LOCK TABLE haulier.error_group"):
        became = claims.settle_each(conn, [failure], seconds=2, uncounted=complaints.append)

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


def test_counts_only_claims_that_are_current_and_takes_its_example_from_them(running, conn, sql):
    lost, counted = running(queue="bulk"), running()
    stale = failed(lost, Outcome.fail("no luck 1", delay=9))
    stale = stale._replace(fence=stale.fence._replace(claim=uuid4()))

    claims.settle(conn, [stale, failed(counted, Outcome.fail("no luck 2", delay=9))])

    assert [row[1:] for row in sql(COUNTS)] == [("default", 0, 1)]
    assert sql("SELECT example, example_job, example_queue FROM haulier.error_group") == [
        # The first error text is of the stale claim; the group text is common to both.
        ("no luck …", counted.id, "default")
    ]
