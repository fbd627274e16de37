"""What a worker does while the database is away, silent, full or ahead of its time: each broken for real."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

import pytest

from haulier.domain.job import JobStatus
from tests.conftest import eventually
from tests.worker.waiting import AT_ONCE, LEASE, let_pass


def test_jobs_whose_claim_was_never_answered_run_soon(proxy, spawn_worker, enqueue, finished, ledger):
    worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, WORKER_THREADS=2)

    # Only of a claim that finds one of the jobs.
    proxy.cut_reply_with = b"t.note"
    proxy.cut_reply_to = b"pg_temp;\n"
    jobs = [enqueue("t.note") for _ in range(5)]

    for job in jobs:
        job = finished(job)
        assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
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


def test_an_outcome_kept_through_an_outage_is_settled_and_not_taken_for_a_stuck_thread(
    proxy, spawn_worker, start_jobs, finished, ledger
):
    worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, STUCK_SECONDS=0.1)
    jobs = start_jobs(8, "t.note", {"seconds": 0.5}, timeout_seconds=1)

    proxy.go_away()
    eventually(lambda: len(ledger.entries("end")) == 8)
    let_pass(2)
    proxy.come_back()

    for job in jobs:
        job = finished(job)
        assert (job.status, job.attempts, job.last_error) == (JobStatus.SUCCEEDED, 1, None)
    assert worker.popen.poll() is None


def test_a_settle_cut_off_while_it_holds_the_row_does_not_hold_it_for_ever(
    proxy, spawn_worker, enqueue, finished, ledger
):
    spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30)

    # The transaction is open, and neither side learns that the other is gone.
    proxy.strand_after = b"WITH outcome AS MATERIALIZED"
    job = enqueue("t.note")
    eventually(lambda: proxy.stranded)

    job = finished(job)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    assert len(ledger.entries("start", job)) == 1


@pytest.mark.slow
def test_connections_that_all_fall_silent_are_found_out_together(proxy, spawn_worker, enqueue, finished):
    spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, WORKER_THREADS=6)
    # So that each thread has a connection.
    for job in [enqueue("t.note", {"seconds": 1}) for _ in range(6)]:
        finished(job)

    proxy.strand()
    began = time.monotonic()
    for job in [enqueue("t.note", {"seconds": 1}) for _ in range(6)]:
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
    assert worker.log.count("takes no further connection") <= 3
    assert "the database is away" not in worker.log


def test_nobody_is_declared_dead_when_the_databases_clock_jumps(spawn_worker, start_jobs, finished, conn, tmp_path):
    workers = [spawn_worker(WORKER_THREADS=4) for _ in range(3)]
    jobs = start_jobs(12, "t.deaf", {"file": str(tmp_path / "go")})
    # Until each worker has the right to rescue.
    let_pass(1.5 * LEASE)

    for _ in range(3):
        with conn.cursor() as cursor:
            # As a jump looks from within, or the machine's sleep: everybody's last beat is long ago.
            cursor.execute("UPDATE haulier.worker SET beat_at = beat_at - interval '1 hour'")
        let_pass(LEASE / 2)
    (tmp_path / "go").touch()

    for job in jobs:
        job = finished(job)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCEEDED, 1, 0)
    assert not any("declared dead" in worker.log for worker in workers)


def test_no_live_workers_job_is_taken_after_an_outage(proxy, spawn_worker, start_jobs, finished, ledger, tmp_path):
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

    for job in jobs:
        job = finished(job)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCEEDED, 1, 0)
    assert set(ledger.counts("start").values()) == {1}
    assert {worker.pid: worker.log.count("registered as") for worker in workers} == beats


@pytest.mark.direct("looks at the server's own connections")
def test_a_worker_whose_connections_are_terminated_goes_on(spawn_worker, enqueue, finished, conn):
    worker = spawn_worker()

    with conn.cursor() as cursor:
        # A runner's, the heartbeat's and the listener's.
        theirs = "datname = current_database() AND application_name IN ('haulier worker', 'haulier listener')"
        eventually(lambda: cursor.execute(f"SELECT FROM pg_stat_activity WHERE {theirs}") or cursor.rowcount >= 3)
        cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")
        assert cursor.rowcount >= 3

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


def test_a_worker_that_cannot_pass_a_knock_on_goes_on(spawn_worker, start_job, enqueue, finished, conn, tmp_path):
    worker = spawn_worker(WORKER_THREADS=1)
    job = start_job("t.deaf", {"file": str(tmp_path / "go")})

    # As a full disk answers.
    with conn.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION haulier.refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'No space left'; END $$;"
            "CREATE TRIGGER refuse BEFORE DELETE ON haulier.sleeper EXECUTE FUNCTION haulier.refuse()"
        )
        cursor.execute("SELECT pg_notify('haulier_job', id::text) FROM haulier.worker")
    try:
        eventually(lambda: "No space left" in worker.log)
    finally:
        with conn.cursor() as cursor:
            cursor.execute("DROP FUNCTION haulier.refuse() CASCADE")
    (tmp_path / "go").touch()

    assert finished(job).status == JobStatus.SUCCEEDED
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None
    assert "has died" not in worker.log


def test_settling_goes_on_when_the_newest_partition_ends_now(spawn_worker, enqueue, finished, conn):
    spawn_worker()
    finished(enqueue("t.note"))

    _end_history_now(conn)

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert finished(enqueue("t.fails")).status == JobStatus.FAILED_PERMANENT


def _end_history_now(conn) -> None:
    with conn.cursor() as cursor:
        cursor.execute("TRUNCATE haulier.finished_job")
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {name}")
        cursor.execute(
            f"CREATE TABLE haulier.ended_{uuid4().hex[:8]} PARTITION OF haulier.finished_job"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
        )


def test_a_job_whose_claim_was_never_answered_keeps_its_place(spawn_worker, enqueue, finished, conn, ledger):
    enqueued = enqueue("t.note", delay=timedelta(hours=1))
    # A third of a lease after the claim all claims are compared.
    worker = spawn_worker(LEASE_SECONDS=12)
    with conn.cursor() as cursor:
        # What a claim leaves behind whose reply was lost.
        cursor.execute(
            "UPDATE haulier.job SET status = 'running', worker_id = worker.id, claim = haulier.uuidv7(), attempt = 1,"
            " attempts = 1, started_at = now(), run_at = created_at - interval '1 hour' FROM haulier.worker"
            " RETURNING run_at"
        )
        [[run_at]] = cursor.fetchall()

    job = finished(enqueued)

    assert "claim was never answered" in worker.log
    assert job.run_at == run_at
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    worker.kill()
