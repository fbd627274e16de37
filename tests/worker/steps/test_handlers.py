"""What a handler does ends its job in the right way, and never the worker; and a cancel ends it whatever that does."""

from __future__ import annotations

import socket
import statistics
import time
from datetime import datetime, timedelta

import pytest
from marshmallow import Schema

from haulier.domain.job import JobStatus
from haulier.domain.outcome import Verb
from haulier.kinds import Kind, RetryPolicy, StopReason
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.stories.explain import explain
from haulier.worker.link.sleeper import Bell
from haulier.worker.steps.timeouts import Timeouts
from haulier.worker.supply.buffer import Buffer
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import CallSize, ClaimSize
from tests.conftest import eventually
from tests.worker.jobs import a_job, held


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
    job = worker.run("t.ends", {"which": "raise"}, max_attempts=3)

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 3)
    assert "ValueError: no luck \ufffd this time (kinds_of_tests.py:" in job.last_error
    assert [error["attempt"] for error in job.errors] == [1, 2, 3]
    assert {error["worker"] for error in job.errors} == {f"{socket.gethostname()}:{worker.process.pid}"}
    assert datetime.fromisoformat(job.errors[-1]["started_at"]) == job.started_at
    assert len(worker.ledger.entries("start", job)) == 3


# Of each last error a part. The first two are not retried: no attempt would mend them.
MISBEHAVING = {
    "not_json": "the handler's result is not JSON",
    "fail": "it is hopeless",
    "exit": "SystemExit: 3",
    "unspeakable": "Unspeakable",
    "retry as an HTTP header has it": "TypeError",
    "snooze for no time": "TypeError",
    "snooze for nan": "ValueError: the handler asked for a delay of nan s",
    "retry in an age": "ValueError: the handler asked for a delay of 1e+30 s, and 31536000 is the longest",
    "fatal": "Fatal",
}


def test_survives_a_handler_that_misbehaves(spawn_worker, enqueue, finished, sql):
    # The same thread runs all of them.
    worker = spawn_worker(WORKER_THREADS=1)

    jobs = {which: enqueue("t.ends", {"which": which}, max_attempts=2) for which in MISBEHAVING}
    others = [enqueue("t.needs"), enqueue("t.ends", {"which": 7})]
    # A delay that makes no sense is one of 10 s.
    late = "SELECT count(*) FROM haulier.job WHERE run_at > now() + interval '5 s'"
    eventually(lambda: sql(late) == [(4,)])
    sql("UPDATE haulier.job SET run_at = now() WHERE status = 'retrying'")

    ended, others = {which: finished(job) for which, job in jobs.items()}, list(map(finished, others))

    assert {job.status for job in (*ended.values(), *others)} == {JobStatus.FAILED_PERMANENT}
    assert [job for which, job in ended.items() if MISBEHAVING[which] not in job.last_error] == []
    assert [job.attempts for job in ended.values()] == [1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert [job.attempts for job in others] == [1, 1]
    assert others[0].last_error == "t.needs needs SMTP_URL, which is not set"
    assert others[1].last_error.startswith("the payload is invalid for t.ends: ")
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


def test_a_child_process_that_comes_back_from_the_handler_is_no_second_worker(worker):
    job = worker.run("t.forks", max_attempts=1)
    after = worker.run("t.note")

    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "parent, child left with 3")
    assert after.status == JobStatus.SUCCEEDED
    assert {entry.pid for entry in worker.ledger.entries()} == {worker.process.pid}


def test_what_a_handler_logs_carries_its_job(worker):
    job = worker.run("t.ends", {"which": "log"})

    [line] = [line for line in worker.process.log.splitlines() if "said by the handler" in line]
    assert f"job_id={job.id} kind=t.ends attempt=1" in line


def test_lets_a_handler_set_the_delay_of_its_retry(worker):
    job = worker.run("t.ends_late", {"which": "retry"})

    assert (job.status, job.attempts, job.last_error) == (JobStatus.SUCCEEDED, 2, "come back")


def test_does_not_count_a_snooze_as_an_attempt(worker):
    job = worker.run("t.ends", {"which": "snooze"}, max_attempts=1)

    assert (job.status, job.attempts, job.snoozes) == (JobStatus.SUCCEEDED, 1, 2)
    assert len(worker.ledger.entries("start", job)) == 3


def test_gives_a_job_of_an_unknown_kind_back_without_blame(worker):
    job = worker.enqueue("t.nobody_knows")

    eventually(lambda: "kind unknown here" in worker.process.log)
    job = search.get(worker.conn, job.id)
    assert (job.status, job.attempts, job.attempt) == (JobStatus.QUEUED, 0, 1)
    assert timedelta(seconds=50) < job.run_at - job.created_at < timedelta(seconds=70)
    assert job.last_error == "no worker that claimed it knows the kind 't.nobody_knows'; workers try again every 60 s"
    assert job.errors == []


def test_gives_a_stored_job_with_an_unknown_field_back_until_that_is_mended(worker):
    # As after a rollback: the next version has renamed a field, and has added one.
    jobs = [worker.enqueue("t.ends", payload) for payload in ({"what": "log"}, {"which": "log", "lang": "de"})]

    eventually(lambda: all(search.get(worker.conn, job.id).last_error for job in jobs))
    waiting = [search.get(worker.conn, job.id) for job in jobs]
    [why, *_] = explain(worker.conn, jobs[1].id, timeouts={}).waiting.reasons()
    for job in jobs:
        job_acts.change(worker.conn, job.id, job_acts.Changes.of(payload={"which": "log"}, delay_seconds=0))
    eventually(lambda: all(search.get(worker.conn, job.id).status.is_final for job in jobs))

    said = "no worker that claimed it knows these payload fields: {}; workers try again every 60 s"
    assert [job.last_error for job in waiting] == [said.format("what"), said.format("lang")]
    assert why.message == "it is not due yet: a worker that does not know these payload fields gave it back: lang"
    for job in waiting:
        assert (job.status, job.attempts, job.errors) == (JobStatus.QUEUED, 0, [])
        assert timedelta(seconds=50) < job.run_at - job.created_at < timedelta(seconds=70)
    ended = [search.get(worker.conn, job.id) for job in jobs]
    assert [(job.status, job.attempts) for job in ended] == [(JobStatus.SUCCEEDED, 1)] * 2


def test_fails_an_attempt_that_outlasts_its_timeout(worker):
    job = worker.run("t.cancelled", timeout_seconds=1, max_attempts=2)
    eater = worker.run("t.eats", timeout_seconds=1, max_attempts=1)

    assert (job.status, job.attempts, job.last_error) == (JobStatus.FAILED_PERMANENT, 2, "timed out after 1 s")
    assert len(worker.ledger.entries("stop:timeout", job)) == 2
    assert (eater.status, eater.last_error) == (JobStatus.FAILED_PERMANENT, "timed out after 1 s")
    assert worker.ledger.entries("ate") == []


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
    assert job.last_error == "timed out after 1 s and did not stop within another 0.5 s"
    assert worker.wait() == 1
    assert finished(other).status == JobStatus.SUCCEEDED


def test_a_running_job_hears_of_its_cancel_well_under_a_second(worker):
    delays = []

    for _ in range(20):
        job, _ = worker.start("t.cancelled")
        cancelled_at = time.monotonic()
        assert worker.cancel(job).status == JobStatus.CANCELLED
        [stop] = worker.ledger.entries("stop:cancelled", job)
        delays.append(stop.at - cancelled_at)

    assert statistics.median(delays) < 0.5


def test_a_cancel_accepted_while_running_beats_the_handlers_success(worker, tmp_path):
    job, _ = worker.start("t.deaf", {"file": str(tmp_path / "go")})

    assert job_acts.cancel(worker.conn, job.id) is False
    (tmp_path / "go").touch()

    job = worker.finished(job)
    assert (job.status, job.result, job.attempts) == (JobStatus.CANCELLED, None, 1)
    assert worker.ledger.entries("end", job)


def test_a_cancelled_job_can_be_retried_and_runs_again(worker):
    job, _ = worker.start("t.cancelled")
    worker.cancel(job)

    again = job_acts.retry(worker.conn, job.id)

    assert (again.status, again.attempts, again.cancel_requested) == (JobStatus.QUEUED, 0, False)
    eventually(lambda: len(worker.ledger.entries("start", job)) == 2)
    worker.cancel(job)


KIND = Kind("mail", Schema, lambda *_: None, retry=RetryPolicy())


@pytest.fixture
def buffer() -> Buffer:
    return Buffer(ClaimSize(threads=1), CallSize(), Bell(), Shutdown())


def a_run(timeout: float | None, *, began: float | None) -> HeldJob:
    return held(a_job("mail"), timeout, began_at=None if began is None else time.monotonic() - began)


def timeouts(buffer: Buffer, *running: HeldJob | None, stuck: float = 3600.0) -> Timeouts:
    return Timeouts(lambda: running, buffer, {"mail": KIND}, stuck_seconds=stuck)


def test_asks_those_to_stop_whose_time_is_up_and_no_others(buffer):
    late, has_ended = a_run(30.0, began=31.0), a_run(30.0, began=31.0)
    has_ended.has_ended = True
    others = [has_ended, a_run(30.0, began=5.0), a_run(None, began=1e6), a_run(30.0, began=None)]
    looked_after = timeouts(buffer, None, late, *others)

    looked_after.enforce()

    assert late.context.stop_reason is StopReason.TIMEOUT
    assert [each.context.stop_reason for each in others] == [None] * 4
    assert (looked_after.stuck, buffer.has_any()) == (0, False)


def test_gives_up_once_what_does_not_stop(buffer):
    deaf = a_run(30.0, began=31.0)
    looked_after = timeouts(buffer, deaf, stuck=0.0)

    looked_after.enforce()
    asked = (deaf.has_ended, looked_after.stuck)
    looked_after.enforce()
    looked_after.enforce()

    [given_up] = buffer.round_trip().ended
    assert asked == (False, 0)
    assert (deaf.has_ended, looked_after.stuck) == (True, 1)
    assert given_up.outcome.verb is Verb.FAIL
    assert given_up.outcome.error == "timed out after 30.0 s and did not stop within another 0 s"
