"""What dies, and what comes back: each promise of docs/design.md about crashes, broken for real."""

from __future__ import annotations

import os
import signal
from uuid import uuid4

from app.domain.job import JobStatus
from app.domain.outcome import Outcome
from app.queue import consume, produce
from tests.conftest import eventually
from tests.proxy import proxy_to

LEASE = 3.0


def test_jobs_of_a_killed_worker_run_elsewhere_within_the_lease(spawn_worker, enqueue, finished, ledger, conn):
    doomed = spawn_worker(WORKER_THREADS=4)
    jobs = [enqueue("t.note", {"seconds": 1.5}) for _ in range(4)]
    eventually(lambda: len(ledger.entries("start")) == 4)
    claims = [produce.get(conn, job.id) for job in jobs]
    spawn_worker(WORKER_THREADS=4)

    doomed.kill()

    # Four jobs that went down together run one after the other: any of them may be the culprit.
    for job in jobs:
        job = finished(job, within=LEASE + 15)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCEEDED, 2, 1)
    late = [consume.Settlement(consume.Fence.of(job), Outcome.complete("late")) for job in claims]
    assert consume.settle(conn, late) == {}
    assert {produce.get(conn, job.id).result["attempt"] for job in jobs} == {2}


def test_a_job_that_kills_its_worker_three_times_fails_alone(spawn_worker, enqueue, finished, ledger, conn):
    bystanders = [enqueue("t.note", {"seconds": 0.5}) for _ in range(3)]
    poison = enqueue("t.kills")
    bystanders += [enqueue("t.note", {"seconds": 0.5}, max_attempts=1) for _ in range(3)]
    workers = [spawn_worker(WORKER_THREADS=7, LEASE_SECONDS=2, wait=False)]

    def replaced_until_final() -> bool:
        # As the platform would.
        if workers[-1].popen.poll() is not None:
            workers.append(spawn_worker(WORKER_THREADS=7, LEASE_SECONDS=2, wait=False))
        return produce.get(conn, poison.id).status.is_final

    eventually(replaced_until_final, within=60)

    job = produce.get(conn, poison.id)
    assert (job.status, job.attempts, job.crashes) == (JobStatus.FAILED_PERMANENT, 3, 3)
    assert job.last_error == "the worker process running this job died or lost its lease (3 times so far)"
    assert len(ledger.entries("start", poison)) == 3
    for bystander in bystanders:
        assert finished(bystander, within=20).status == JobStatus.SUCCEEDED


def test_a_suspect_runs_with_nothing_else_in_its_process(spawn_worker, enqueue, finished, ledger, conn):
    suspects = [enqueue("t.note", {"seconds": 0.3}) for _ in range(3)]
    with conn.cursor() as cursor:
        cursor.execute("UPDATE haulier.job SET crashes = 1")
    others = [enqueue("t.note", {"seconds": 0.1}) for _ in range(30)]

    spawn_worker(WORKER_THREADS=4)

    for job in (*suspects, *others):
        assert finished(job, within=20).status == JobStatus.SUCCEEDED
    spans = {
        job.id: (ledger.entries("start", job)[0].at, ledger.entries("end", job)[0].at) for job in (*suspects, *others)
    }
    for suspect in suspects:
        began, ended = spans.pop(suspect.id)
        assert not [span for span in spans.values() if span[0] < ended and span[1] > began]


def test_jobs_whose_claim_was_never_answered_run_soon(spawn_worker, enqueue, finished, ledger, database):
    with proxy_to(database) as proxy:
        worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30, WORKER_THREADS=2)

        proxy.cut_reply_to = b"SET status = 'running'"
        jobs = [enqueue("t.note") for _ in range(5)]

        for job in jobs:
            job = finished(job, within=15)
            assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
        assert proxy.cuts == 1
        assert "claim was never answered" in worker.log
        assert set(ledger.counts("start").values()) == {1}
        worker.kill()


def test_a_settle_whose_reply_was_lost_is_not_taken_for_a_lost_lease(spawn_worker, enqueue, finished, ledger, database):
    with proxy_to(database) as proxy:
        worker = spawn_worker(DATABASE_URL=proxy.url, LEASE_SECONDS=30)
        job = enqueue("t.note", {"seconds": 0.5})
        eventually(lambda: ledger.entries("start", job))

        # The settle's own transaction ends with this message.
        proxy.cut_reply_to = b"COMMIT;"

        assert finished(job).status == JobStatus.SUCCEEDED
        eventually(lambda: "completed" in worker.log)
        assert proxy.cuts == 1
        assert "lost the claim" not in worker.log
        assert len(ledger.entries("start", job)) == 1
        worker.kill()


def test_no_live_workers_job_is_taken_after_an_outage(spawn_worker, enqueue, finished, ledger, database, tmp_path):
    with proxy_to(database) as proxy:
        workers = [spawn_worker(DATABASE_URL=proxy.url, WORKER_THREADS=4) for _ in range(4)]
        jobs = [enqueue("t.deaf", {"file": str(tmp_path / "go")}) for _ in range(16)]
        eventually(lambda: len(ledger.entries("start")) == 16)
        # Until each worker has the right to rescue.
        beats = {worker.pid: worker.log.count("registered as") for worker in workers}

        proxy.go_away()
        eventually(lambda: all("the database is away" in worker.log for worker in workers), within=10)
        _let_pass(1.5 * LEASE)
        proxy.come_back()
        eventually(lambda: all("the database is back" in worker.log for worker in workers), within=10)
        _let_pass(2.0 * LEASE)
        (tmp_path / "go").touch()

        for job in jobs:
            job = finished(job)
            assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCEEDED, 1, 0)
        assert set(ledger.counts("start").values()) == {1}
        assert {worker.pid: worker.log.count("registered as") for worker in workers} == beats
        for worker in workers:
            worker.kill()


def test_a_worker_paused_past_its_lease_changes_nothing_when_it_wakes(
    spawn_worker, enqueue, finished, ledger, tmp_path
):
    paused = spawn_worker(WORKER_THREADS=1)
    job = enqueue("t.note", {"seconds": 0.2})
    slow = enqueue("t.deaf", {"file": str(tmp_path / "go")})
    eventually(lambda: ledger.entries("start", slow))
    finished(job)
    spawn_worker(WORKER_THREADS=1)

    os.kill(paused.pid, signal.SIGSTOP)
    eventually(lambda: len(ledger.entries("start", slow)) == 2, within=LEASE + 15)
    os.kill(paused.pid, signal.SIGCONT)
    eventually(lambda: "was declared dead" in paused.log)
    (tmp_path / "go").touch()

    slow = finished(slow)
    assert (slow.status, slow.attempt) == (JobStatus.SUCCEEDED, 2)
    eventually(lambda: "lost the claim" in paused.log)


def test_a_worker_whose_connections_are_terminated_goes_on(spawn_worker, enqueue, finished, conn):
    worker = spawn_worker()

    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'haulier%' AND pid <> pg_backend_pid()"
        )
        assert cursor.rowcount >= 3

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


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


def _let_pass(seconds: float) -> None:
    # Time itself is what is tested here.
    import threading

    threading.Event().wait(seconds)
