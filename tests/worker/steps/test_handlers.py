"""What a handler does ends its job in the right way, and never the worker."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import search
from tests.conftest import eventually


@pytest.fixture(scope="module")
def shared(share_worker):
    return share_worker()


def test_runs_a_job_and_stores_its_result(worker):
    job = worker.run("t.note")

    assert (job.status, job.attempts, job.result) == (JobStatus.SUCCEEDED, 1, {"attempt": 1})
    assert job.last_error is None
    assert job.started_at >= job.created_at
    assert job.finished_at >= job.started_at


def test_retries_a_handler_that_raises_until_the_budget_is_spent(worker):
    job = worker.run("t.raises", max_attempts=3)

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 3)
    assert "ValueError: no luck \ufffd this time (kinds_of_tests.py:" in job.last_error
    assert [error["attempt"] for error in job.errors] == [1, 2, 3]
    assert {error["worker"] for error in job.errors} == {f"{socket.gethostname()}:{worker.process.pid}"}
    assert datetime.fromisoformat(job.errors[-1]["started_at"]) == job.started_at
    assert len(worker.ledger.entries("start", job)) == 3


MISBEHAVING = {
    "t.exits": "SystemExit: 3",
    "t.not_json": "the handler's result is not JSON",
    "t.silent_error": "Unspeakable",
    "t.fails": "it is hopeless",
    "t.needs": "t.needs needs SMTP_URL, which is not set",
    "t.asks_oddly_to_retry": "TypeError",
    "t.asks_oddly_to_snooze": "TypeError",
    "t.exits_when_asked_why": "Fatal",
}


def test_survives_a_handler_that_misbehaves(spawn_worker, enqueue, finished):
    # The same thread runs all of them.
    worker = spawn_worker(WORKER_THREADS=1)

    ended = {kind: finished(enqueue(kind, max_attempts=1)) for kind in MISBEHAVING}

    assert {job.status for job in ended.values()} == {JobStatus.FAILED_PERMANENT}
    assert [job for kind, job in ended.items() if MISBEHAVING[kind] not in job.last_error] == []
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


def test_a_child_process_that_comes_back_from_the_handler_is_no_second_worker(worker):
    job = worker.run("t.forks", max_attempts=1)
    after = worker.run("t.note")

    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "parent, child left with 3")
    assert after.status == JobStatus.SUCCEEDED
    assert {entry.pid for entry in worker.ledger.entries()} == {worker.process.pid}


def test_what_a_handler_logs_carries_its_job(worker):
    job = worker.run("t.logs")

    [line] = [line for line in worker.process.log.splitlines() if "said by the handler" in line]
    assert f"job_id={job.id} kind=t.logs attempt=1" in line


def test_does_not_retry_what_no_attempt_would_mend(worker):
    jobs = [worker.run(kind, max_attempts=5) for kind in ("t.not_json", "t.fails", "t.needs")]
    jobs.append(worker.run("t.strict", {"number": "seven"}))

    assert {(job.status, job.attempts) for job in jobs} == {(JobStatus.FAILED_PERMANENT, 1)}
    assert jobs[-1].last_error.startswith("the payload does not fit t.strict: number: ")


def test_lets_a_handler_set_the_delay_of_its_retry(worker):
    job = worker.run("t.asks_again")

    assert (job.status, job.attempts, job.result) == (JobStatus.SUCCEEDED, 2, 2)
    assert job.last_error == "come back"


def test_does_not_count_a_snooze_as_an_attempt(worker):
    job = worker.run("t.snoozes", max_attempts=1)

    assert (job.status, job.attempts, job.snoozes) == (JobStatus.SUCCEEDED, 1, 2)
    assert len(worker.ledger.entries("start", job)) == 3


def test_gives_a_job_of_an_unknown_kind_back_without_blame(worker):
    job = worker.enqueue("t.nobody_knows")

    eventually(lambda: "kind unknown here" in worker.process.log)
    job = search.get(worker.conn, job.id)
    assert (job.status, job.attempts, job.attempt) == (JobStatus.QUEUED, 0, 1)
    assert timedelta(seconds=50) < job.run_at - job.created_at < timedelta(seconds=70)
    assert job.last_error == "no worker that took it knows the kind 't.nobody_knows'; it is offered again every 60 s"
    assert job.errors == []


def test_fails_an_attempt_that_outlasts_its_timeout(worker):
    job = worker.run("t.cancelled", timeout_seconds=1, max_attempts=2)

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 2)
    assert job.last_error == "timed out after 1 s"
    assert len(worker.ledger.entries("stop:timeout", job)) == 2


def test_reaches_a_handler_that_eats_every_exception(worker):
    job = worker.run("t.eats", timeout_seconds=1, max_attempts=1)

    assert (job.status, job.last_error) == (JobStatus.FAILED_PERMANENT, "timed out after 1 s")
    assert worker.ledger.entries("ate") == []


def test_runs_higher_priorities_first(spawn_worker, enqueue, finished, ledger):
    jobs = [enqueue("t.note", priority=priority) for priority in (0, -5, 100, 7)]

    spawn_worker(WORKER_THREADS=1)

    for job in jobs:
        finished(job)
    started = [entry.job_id for entry in ledger.entries("start")]
    assert started == [str(jobs[index].id) for index in (2, 3, 0, 1)]


def test_serves_only_its_own_queues(spawn_worker, enqueue, finished, conn):
    spawn_worker(WORKER_QUEUES="mail,other")

    mine, foreign = enqueue("t.note", queue="mail"), enqueue("t.note", queue="default")

    finished(mine)
    assert finished(enqueue("t.note", queue="other")).status == JobStatus.SUCCEEDED
    assert search.get(conn, foreign.id).status == JobStatus.QUEUED


def test_starts_a_deferred_job_when_it_is_due_and_not_before(spawn_worker, enqueue, finished):
    spawn_worker(POLL_SECONDS=30)

    job = finished(enqueue("t.note", delay=timedelta(seconds=1)))

    assert timedelta(0) <= job.started_at - job.run_at < timedelta(seconds=20)


def test_gives_up_the_claim_of_a_stuck_thread_and_has_itself_replaced(
    spawn_worker, start_job, enqueue, finished, tmp_path
):
    worker = spawn_worker(STUCK_SECONDS=0.5, WORKER_THREADS=2)
    other = start_job("t.note", {"seconds": 4})

    job = enqueue("t.deaf", {"file": str(tmp_path / "never")}, timeout_seconds=1, max_attempts=1)

    job = finished(job)
    assert job.status == JobStatus.FAILED_PERMANENT
    assert job.last_error == "timed out after 1 s, and did not stop within another 0.5 s"
    assert worker.wait() == 1
    assert finished(other).status == JobStatus.SUCCEEDED
