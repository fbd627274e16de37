"""The heartbeat's other duties: it ..."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from haulier.domain.job import JobStatus
from haulier.domain.vitals import read_vitals
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import SQL
from haulier.queue import search
from haulier.queue.queues.pauses import pause
from haulier.version import version as own_version
from haulier.worker.assembly import Assembly
from haulier.worker.steps.memory_growth import WARM_UP_BEATS
from haulier.worker.steps.vitals import VitalSigns, cpu_seconds, resident
from haulier.worker.threads.heartbeat import Heartbeat
from tests.conftest import eventually
from tests.worker.jobs import a_job, held


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
def commit_unanswered(heartbeat, tick, sql):
    """Give a function with which a claim of all jobs is committed that was never answered; call `tick` before it."""
    claim_id = uuid4()
    tick()
    heartbeat.held.begin_claim(claim_id)
    heartbeat.held.end_claim(claim_id, None)
    return lambda: sql(
        "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, attempt = 1, attempts = 1,"
        " started_at = now()",
        heartbeat.link.lease.registered_as,
        claim_id,
    )


def test_gives_back_an_unanswered_claim_however_late_it_commits(heartbeat, tick, conn, enqueue, commit_unanswered):
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


def test_goes_on_if_one_statement_is_refused(heartbeat, tick, conn, sql, enqueue, commit_unanswered, monkeypatch):
    job, beat_at = enqueue("t.note"), sql("SELECT beat_at FROM haulier.worker")
    # Long enough ago for both to be due.
    heartbeat.link.lease._beat_at = heartbeat._suspects_at = float("-inf")
    commit_unanswered()
    # The look for suspects, which reads nothing that the others do not.
    monkeypatch.setitem(SQL, "lanes_and_operations", "SELECT FROM haulier.elsewhere")

    tick()

    assert sql("SELECT beat_at FROM haulier.worker") > beat_at
    assert search.get(conn, job.id).status is JobStatus.QUEUED
    assert heartbeat.link.outage._failures > 0


@pytest.mark.parametrize("is_refused", [False, True])
def test_gives_back_what_was_claimed_ahead_of_a_paused_queue(heartbeat, tick, conn, monkeypatch, is_refused):
    bulk, mail = (held(a_job("mail")._replace(queue=queue)) for queue in ("bulk", "mail"))
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


def test_says_what_it_uses_with_each_heartbeat(config, sql):
    busy, idle = held(a_job("mail")), held(a_job("mail"))
    busy.began_at, idle.began_at, idle.seconds = time.monotonic(), 0.0, 1.0
    heartbeat = Assembly(config, {}).heartbeat(lambda: [busy, idle, None])
    with heartbeat.database.connection() as conn, closing(heartbeat.database):
        heartbeat.go_round(conn)
        before = sql("SELECT vitals FROM haulier.worker")
        heartbeat.link.lease._beat_at = float("-inf")
        heartbeat.go_round(conn)

    [(stored,)] = sql("SELECT vitals FROM haulier.worker")
    said = read_vitals(stored)
    assert (before, said.busy, said.busy_minutes, said.isolated) == ([(None,)], 1.0, [1.0], [])
    # This process: tens of megabytes, and at least some of the time since the first round.
    assert 2**24 < said.memory < 2**34
    assert 0 < said.cpu < 64
    assert (resident(2**31 - 1), cpu_seconds(2**31 - 1)) == (None, None)


def test_shows_gaps_instead_of_zeros_for_minutes_without_a_sample():
    signs = VitalSigns(lambda: (), {}, lambda: (), lambda: ((), 0))

    signs.sample()
    signs._minute_at -= 150

    signs.sample()
    assert signs.take().busy_minutes == [0.0, None, 0.0]


def test_says_its_version_and_beats_in_time_if_no_deployment_can_be_noted(heartbeat, tick, sql, database):
    with closing(connect(database)) as conn, conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.deployment IN ACCESS EXCLUSIVE MODE")
        began_at = time.monotonic()
        tick()
        took = time.monotonic() - began_at

    assert sql("SELECT version, kinds FROM haulier.worker") == [(own_version(), [])]
    assert took < 3


def test_judges_the_growth_of_memory_no_more_often_than_it_has_to_beat(config):
    busy = held(a_job("mail"))
    busy.began_at = time.monotonic()
    beside = Assembly(config, {}).heartbeat(lambda: [busy])
    beside.database.close()

    # As before each look for dead workers, which comes twice as often.
    usual = []
    for signs in (beside.vitals, VitalSigns(lambda: [busy], {}, lambda: (), lambda: ((), 0))):
        signs.sample()
        usual.append([signs.take().usual_memory is None for _ in range(WARM_UP_BEATS)])

    assert usual == [[True] * WARM_UP_BEATS, [True] * (WARM_UP_BEATS - 1) + [False]]


def test_a_quiet_process_says_its_version_and_claims_nothing(spawn_worker, enqueue, finished, sql, conn):
    spawn_worker(RELEASE="shop 7")
    # It registers first.
    eventually(lambda: sql("SELECT version FROM haulier.worker") != [(None,)])
    [said] = sql("UPDATE haulier.worker SET quiet = true RETURNING id, version, release, kinds, stopping")
    quiet, version, release, kinds, stopping = said
    other = spawn_worker()
    for job in [enqueue("t.note") for _ in range(10)]:
        finished(job)
    other.terminate()
    assert other.wait() == 0
    waiting = enqueue("t.note")
    [(beat,)] = sql("SELECT beat_at FROM haulier.worker WHERE id = %s", quiet)

    # It lives, and has had the time to look.
    eventually(lambda: sql("SELECT 1 FROM haulier.worker WHERE beat_at > %s + interval '2 s'", beat))

    assert search.get(conn, waiting.id).status is JobStatus.QUEUED
    sql("UPDATE haulier.worker SET quiet = false")
    assert finished(waiting).status is JobStatus.SUCCEEDED
    assert (version, release, stopping) == (own_version(), "shop 7", False)
    assert {"send_email", "t.note"} <= set(kinds)
    assert kinds == sorted(kinds)
