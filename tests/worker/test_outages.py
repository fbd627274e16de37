"""What a worker does while the database is away, silent, full, locked or ahead of its time: each broken for real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, JobStatus
from haulier.postgres.connection import connect, server_process
from haulier.queue import search
from haulier.worker.supply.sizes import MOST_AHEAD
from tests.conftest import eventually, sql_on
from tests.worker.waiting import AT_ONCE, LEASE, let_pass


def test_jobs_whose_claim_was_never_answered_run_soon(proxy, spawn_worker, enqueue, succeed, ledger):
    worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, WORKER_THREADS=2)

    # Only of a claim that finds one of the jobs.
    proxy.cut_reply_with = b"t.note"
    proxy.cut_reply_to = b"pg_temp;\n"

    succeed(*[enqueue("t.note") for _ in range(5)])
    assert proxy.cuts == 1
    assert "claim was never answered" in worker.log
    assert set(ledger.counts("start").values()) == {1}


def test_a_settle_whose_reply_was_lost_is_not_taken_for_a_lost_lease(proxy, spawn_worker, start_job, finished, ledger):
    worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30)
    job = start_job("t.note", {"seconds": 0.5})

    # The settle's own transaction ends with this message.
    proxy.cut_reply_to = b"COMMIT;"

    assert finished(job).status == JobStatus.SUCCEEDED
    eventually(lambda: "completed" in worker.log)
    assert proxy.cuts == 1
    assert "lost the claim" not in worker.log
    assert len(ledger.entries("start", job)) == 1


def test_an_outcome_kept_through_an_outage_is_settled(proxy, spawn_worker, start_jobs, succeed, ledger):
    worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, STUCK_SECONDS=0.1)
    jobs = start_jobs(8, "t.note", {"seconds": 0.5}, timeout_seconds=1)

    proxy.go_away()
    eventually(lambda: len(ledger.entries("end")) == 8)
    let_pass(2)
    proxy.come_back()

    succeed(*jobs)
    assert worker.popen.poll() is None


def test_a_settle_that_is_cut_off_holds_no_row_for_ever(proxy, spawn_worker, enqueue, succeed, ledger):
    spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30)

    # The transaction is open, and neither side learns that the other is gone.
    proxy.strand_after = b"WITH outcome AS MATERIALIZED"
    job = enqueue("t.note")
    eventually(lambda: proxy.stranded)

    succeed(job)
    assert len(ledger.entries("start", job)) == 1


@pytest.mark.slow
def test_connections_that_all_fall_silent_are_found_out_together(proxy, spawn_worker, start_jobs, finished):
    spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, WORKER_THREADS=6)
    # So that each thread has a connection.
    for job in start_jobs(6, "t.note", {"seconds": 1}):
        finished(job)

    proxy.strand()
    began = time.monotonic()
    for job in start_jobs(6, "t.note", {"seconds": 1}):
        finished(job)

    # One deadline of a call; one after the other they took 42 s.
    assert time.monotonic() - began < 20


def test_a_thread_that_gets_no_connection_does_not_hold_up_the_others(spawn_worker, enqueue, finished, few_connections):
    worker = spawn_worker(DATABASE_URL=few_connections(5), WORKER_THREADS=6)
    # So that some threads have a connection, and the others look for one.
    for job in [enqueue("t.note", {"seconds": 1}) for _ in range(12)]:
        finished(job)

    began = time.monotonic()
    for job in [enqueue("t.note") for _ in range(20)]:
        finished(job)

    assert time.monotonic() - began < AT_ONCE
    assert worker.log.count("accepts no more connections") <= 3
    assert "the database is away" not in worker.log


def test_nobody_is_declared_dead_when_the_databases_clock_jumps(spawn_worker, start_jobs, succeed, sql, tmp_path):
    workers = [spawn_worker(WORKER_THREADS=4) for _ in range(3)]
    jobs = start_jobs(12, "t.deaf", {"file": str(tmp_path / "go")})
    # Until each worker has the right to rescue.
    let_pass(1.5 * LEASE)

    for _ in range(3):
        # As a jump looks from within, or the machine's sleep: everybody's last beat is long ago.
        sql("UPDATE haulier.worker SET beat_at = beat_at - interval '1 hour'")
        let_pass(LEASE / 2)
    (tmp_path / "go").touch()

    succeed(*jobs)
    assert not any("declared dead" in worker.log for worker in workers)


def test_no_live_workers_job_is_taken_after_an_outage(proxy, spawn_worker, start_jobs, succeed, ledger, tmp_path):
    workers = [spawn_worker(DATABASE_URL=proxy.url, WORKER_THREADS=4) for _ in range(4)]
    jobs = start_jobs(16, "t.deaf", {"file": str(tmp_path / "go")})
    # Until each worker has the right to rescue.
    beats = {worker.pid: worker.log.count("registered as") for worker in workers}

    proxy.go_away()
    eventually(lambda: all("the database is away" in worker.log for worker in workers))
    let_pass(1.5 * LEASE)
    proxy.come_back()
    eventually(lambda: all("the database is back" in worker.log for worker in workers))
    let_pass(2.0 * LEASE)
    (tmp_path / "go").touch()

    succeed(*jobs)
    assert set(ledger.counts("start").values()) == {1}
    assert {worker.pid: worker.log.count("registered as") for worker in workers} == beats


@pytest.mark.direct("looks at the server's own connections")
def test_a_worker_whose_connections_are_terminated_goes_on(spawn_worker, enqueue, finished, sql):
    worker = spawn_worker()

    # A runner's, the heartbeat's and the listener's.
    theirs = "datname = current_database() AND application_name IN ('haulier worker', 'haulier listener')"
    eventually(lambda: len(sql(f"SELECT pid FROM pg_stat_activity WHERE {theirs}")) >= 3)
    assert len(sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")) >= 3

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


def test_a_worker_that_cannot_pass_a_knock_on_goes_on(spawn_worker, start_job, enqueue, finished, sql, tmp_path):
    worker = spawn_worker(WORKER_THREADS=1)
    job = start_job("t.deaf", {"file": str(tmp_path / "go")})

    # As a full disk answers.
    sql(
        "CREATE FUNCTION haulier.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'No space left'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON haulier.sleeper EXECUTE FUNCTION haulier.refuse()"
    )
    try:
        sql("SELECT pg_notify('haulier_job', id::text) FROM haulier.worker")
        eventually(lambda: "No space left" in worker.log)
    finally:
        sql("DROP FUNCTION haulier.refuse() CASCADE")
    (tmp_path / "go").touch()

    assert finished(job).status == JobStatus.SUCCEEDED
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None
    assert "has died" not in worker.log


def test_settling_goes_on_when_the_newest_partition_ends_now(spawn_worker, enqueue, finished, sql):
    spawn_worker()
    finished(enqueue("t.note"))

    sql("TRUNCATE haulier.finished_job")
    partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
    for (name,) in sql(partitions):
        sql(f"DROP TABLE {name}")
    sql(
        f"CREATE TABLE haulier.ended_{uuid4().hex[:8]} PARTITION OF haulier.finished_job"
        " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert finished(enqueue("t.ends", {"which": "fail"})).status == JobStatus.FAILED_PERMANENT


def test_a_job_whose_claim_was_never_answered_keeps_its_place(spawn_worker, enqueue, finished, sql):
    enqueued = enqueue("t.note", delay=timedelta(hours=1))
    # A third of a lease after the claim all claims are compared.
    worker = spawn_worker(LEASE_SECONDS=6)
    # What a claim leaves behind whose reply was lost.
    [(run_at,)] = sql(
        "UPDATE haulier.job SET status = 'running', worker_id = worker.id, claim = haulier.uuidv7(), attempt = 1,"
        " attempts = 1, started_at = now(), run_at = created_at - interval '1 hour' FROM haulier.worker"
        " RETURNING run_at"
    )

    job = finished(enqueued)

    assert "claim was never answered" in worker.log
    assert (job.status, job.attempts, job.run_at) == (JobStatus.SUCCEEDED, 1, run_at)
    worker.kill()


@pytest.fixture
def waiting_for(sql) -> Callable[[Connection], set]:
    """Give a function that returns when the transactions began that wait for this connection's lock."""
    waiting = "SELECT xact_start FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    return lambda holder: {began_at for [began_at] in sql(waiting, server_process(holder))}


@pytest.fixture
def lock(database) -> Iterator[Callable[..., Connection]]:
    """Give a function that locks the jobs of a condition, and returns the connection which holds the lock."""
    with ExitStack() as opened:

        def lock(condition: str, job: Job) -> Connection:
            rival = opened.enter_context(closing(connect(database)))
            sql_on(rival)(f"BEGIN; SELECT FROM haulier.job WHERE {condition} FOR UPDATE", job.id)
            return rival

        yield lock


def test_settles_the_others_while_one_row_is_locked(
    spawn_worker, start_jobs, finished, ledger, conn, lock, waiting_for, tmp_path
):
    worker, first, then = spawn_worker(LEASE_SECONDS=30), tmp_path / "first", tmp_path / "then"
    others = start_jobs(3, "t.deaf", {"file": str(first)})
    [locked] = start_jobs(1, "t.deaf", {"file": str(then)})
    for_long, for_short = lock("id = %s", locked), lock("id <> %s", locked)
    first.touch()
    eventually(lambda: len(ledger.entries("end")) == 3)
    then.touch()
    # The others stand in line behind it.
    tries = eventually(lambda: waiting_for(for_long))

    for_short.close()

    assert {finished(job).status for job in others} == {JobStatus.SUCCEEDED}
    assert search.get(conn, locked.id).status is JobStatus.RUNNING
    # The second time could be for another outcome than the first.
    eventually(lambda: tries.update(waiting_for(for_long)) or len(tries) >= 2)
    for_long.close()
    locked = finished(locked)
    assert (locked.status, locked.result) == (JobStatus.SUCCEEDED, "done")
    assert len(ledger.entries("start")) == 4
    assert "database is away" not in worker.log
    worker.kill()


def test_quick_jobs_are_claimed_while_a_settle_waits(spawn_worker, sql, database, waiting_for, ledger):
    spawn_worker(WORKER_THREADS=16, LEASE_SECONDS=30)

    def enqueue(jobs: int) -> None:
        sql(f"INSERT INTO haulier.job (kind, payload) SELECT 't.note', '{{}}' FROM generate_series(1, {jobs})")

    # So that the kind is known as quick.
    enqueue(1000)
    eventually(lambda: not sql("SELECT FROM haulier.job LIMIT 1"))
    with closing(connect(database)) as rival:
        sql_on(rival)("BEGIN; LOCK haulier.finished_job IN SHARE MODE")
        enqueue(4 * MOST_AHEAD)

        ended: dict[object, int] = {}

        def claimed_meanwhile() -> bool:
            """Return whether more have ended, while one settle waited, than had been claimed before."""
            now = len(ledger.entries("end"))
            return any(now - ended.setdefault(settle, now) > MOST_AHEAD + 100 for settle in waiting_for(rival))

        eventually(claimed_meanwhile)

    eventually(lambda: not sql("SELECT FROM haulier.job LIMIT 1"))
    assert set(ledger.counts("start").values()) == {1}
