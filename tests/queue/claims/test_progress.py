"""Progress: `write_progress` ..."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import Locked
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.domain.progress import Progress
from haulier.postgres.errors import translated
from haulier.queue import claims, search
from haulier.queue.upkeep.purge import purge_progress


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
    """Give a function that returns what is shown of a job's progress, but for the time."""

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


def test_stores_what_a_text_cannot_hold_as_a_text_that_can(running, write, shown):
    job = running()

    write((job, word(1, note='nul \x00, alone \ud800, "quoted" {NULL} \\')))

    assert shown(job) == (1, None, 'nul \ufffd, alone ?, "quoted" {NULL} \\')


def test_writes_nothing_of_a_claim_that_is_over(running, settle, write, sql):
    jobs = [running() for _ in range(4)]
    for job, outcome in zip(
        jobs, [Outcome.complete(), Outcome.fail("x", 0), Outcome.release(), Outcome.snooze(0)], strict=True
    ):
        settle(job, outcome)

    write(*((job, word(1)) for job in jobs))

    assert sql("SELECT count(*) FROM haulier.progress") == [(0,)]


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


def test_writes_nothing_without_the_whole_fence(running, register, conn, sql):
    job = running()
    fence = Fence.of(job)

    for worker, wrong in (
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


def test_neither_waits_for_a_locked_job_nor_locks_one(running, open_conn, conn, worker, shown):
    job, rival = running(), open_conn()
    with rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        claims.write_progress(conn, worker, {Fence.of(job): word(1)}, seconds=2)
        cursor.execute("COMMIT")
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        claims.write_progress(conn, worker, {Fence.of(job): word(2)}, seconds=2)
        # Settles leave out what is locked.
        settled = claims.settle(rival, [Settlement(Fence.of(job), Outcome.complete())], lock_seconds=0)
        cursor.execute("COMMIT")

    assert settled == {job.id: JobStatus.SUCCEEDED}


def test_gives_up_soon_if_the_table_is_locked(running, open_conn, conn, worker):
    job, rival = running(), open_conn()
    with rival.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.progress")
        began = time.monotonic()
        with pytest.raises(Locked), translated():
            claims.write_progress(conn, worker, {Fence.of(job): word(1)}, seconds=60)
        waited = time.monotonic() - began
        cursor.execute("ROLLBACK")

    assert waited < 30


def test_is_understood_if_a_role_reads_arrays_in_another_way(running, conn, worker, sql, shown):
    job = running()
    sql("SET array_nulls = off")

    claims.write_progress(conn, worker, {Fence.of(job): word(1)}, seconds=2)

    assert shown(job) == (1, None, None)


def test_purge_forgets_what_no_running_claim_has_said(running, settle, write, sql, conn):
    ended, retrying, still = running(), running(), running()
    write(*((job, word(1)) for job in (ended, retrying, still)))
    settle(ended, Outcome.complete())
    settle(retrying, Outcome.fail("no luck", 60))

    forgotten = purge_progress(conn)

    assert forgotten == 2
    assert sql("SELECT job_id FROM haulier.progress") == [(still.id,)]
