"""The heartbeat's other duties: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from haulier.config import Config
from haulier.domain.job import JobStatus
from haulier.kinds import JobContext
from haulier.postgres.sql_files import SQL
from haulier.queue import search
from haulier.queue.queues.pauses import pause
from haulier.worker.assembly import Assembly
from haulier.worker.supply.held import HeldJob
from haulier.worker.threads.heartbeat import Heartbeat
from tests.worker.jobs import a_job


@pytest.fixture
def heartbeat(config) -> Iterator[Heartbeat]:
    heartbeat = Assembly(config, {}).heartbeat(lambda: ())
    yield heartbeat
    heartbeat.database.close()


@pytest.fixture
def tick(heartbeat):
    """Give a function that lets the heartbeat do what it does in one round."""

    def tick() -> None:
        with heartbeat.database.connection() as conn:
            heartbeat.go_round(conn)

    return tick


@pytest.fixture
def commit_unanswered(heartbeat, tick, conn):
    """Give a function with which a claim of all jobs is committed that was never answered; call `tick` before it."""
    claim_id = uuid4()

    def commit_unanswered() -> None:
        with conn.cursor() as cursor:
            cursor.execute(
                "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, attempt = 1, attempts = 1,"
                " started_at = now()",
                [heartbeat.link.lease.registered_as, claim_id],
            )

    tick()
    heartbeat.held.begin_claim(claim_id)
    heartbeat.held.end_claim(claim_id, None)
    return commit_unanswered


def test_gives_back_what_an_unanswered_claim_has_brought_however_late_it_is_committed(
    heartbeat, tick, conn, enqueue, commit_unanswered
):
    job = enqueue("t.note")
    tick()
    before = search.get(conn, job.id)
    # The round that compares everything is seconds away.
    commit_unanswered()

    tick()

    after = search.get(conn, job.id)
    assert (before.status, after.status, after.attempts) == (JobStatus.QUEUED, JobStatus.QUEUED, 0)
    assert heartbeat.held.unsure() == []


def test_looks_on_for_a_claim_of_which_somebody_has_locked_a_job(tick, conn, enqueue, commit_unanswered):
    first, second = enqueue("t.note"), enqueue("t.note")
    commit_unanswered()
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [second.id])
        tick()
        left = [search.get(conn, job.id).status for job in (first, second)]
        cursor.execute("COMMIT")

    tick()

    assert left == [JobStatus.QUEUED, JobStatus.RUNNING]
    assert search.get(conn, second.id).status is JobStatus.QUEUED


def test_goes_on_with_the_rest_if_one_statement_is_refused(
    heartbeat, tick, conn, enqueue, commit_unanswered, monkeypatch
):
    job, beat_at = enqueue("t.note"), _beat_at(conn)
    # Long enough ago for both to be due.
    heartbeat.link.lease._beat_at = heartbeat._suspects_at = float("-inf")
    commit_unanswered()
    # The look for suspects, which reads nothing that the others do not.
    monkeypatch.setitem(SQL, "lanes_and_operations", "SELECT FROM haulier.elsewhere")

    tick()

    assert _beat_at(conn) > beat_at
    assert search.get(conn, job.id).status is JobStatus.QUEUED
    assert heartbeat.link.outage._failures > 0


@pytest.mark.parametrize("is_refused", [False, True])
def test_gives_back_what_was_claimed_ahead_of_a_paused_queue(heartbeat, tick, conn, monkeypatch, is_refused):
    bulk, mail = (HeldJob(job, JobContext(job, Config("postgres://")), None) for job in map(a_job_of, ("bulk", "mail")))
    buffer = heartbeat.pauses.buffer
    assert buffer.take_place()
    buffer.fill([bulk, mail], free=2, is_short=True)
    buffer.done()
    start_by = mail.start_by
    pause(conn, "bulk")
    if is_refused:
        monkeypatch.setitem(SQL, "find_paused", "SELECT FROM haulier.elsewhere")

    tick()

    assert (bulk.has_ended, mail.has_ended) == (not is_refused, False)
    # If nobody knows what is paused, neither may wait for longer.
    assert (mail.start_by > start_by) == (not is_refused)


def test_asks_for_no_pauses_if_no_job_waits(heartbeat, tick, monkeypatch):
    monkeypatch.setitem(SQL, "find_paused", "SELECT FROM haulier.elsewhere")

    tick()

    assert heartbeat.link.outage._failures == 0


def a_job_of(queue):
    return a_job("mail")._replace(queue=queue)


def _beat_at(conn):
    with conn.cursor() as cursor:
        cursor.execute("SELECT beat_at FROM haulier.worker")
        [[beat_at]] = cursor.fetchall()
        return beat_at
