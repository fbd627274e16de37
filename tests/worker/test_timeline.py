"""The timeline of a job that has seen everything, as real workers leave it behind."""

from __future__ import annotations

import socket

from haulier.domain.job import JobStatus
from haulier.domain.timeline import timeline
from haulier.queue import jobs
from haulier.queue.stories.timeline import trace
from tests.conftest import eventually


def test_reports_each_attempt_when_it_began_and_ended_and_on_which_worker(
    spawn_worker, enqueue, finished, ledger, conn, sql, tmp_path
):
    done, first = tmp_path / "done", spawn_worker()
    job = enqueue("t.at_last", {"file": str(done)}, max_attempts=10)
    eventually(lambda: len(ledger.entries("start", job)) == 3)
    first.kill()
    second = spawn_worker()
    eventually(lambda: len(ledger.entries("start", job)) == 4)
    assert jobs.cancel(conn, job.id, actor="anna") is False
    assert finished(job).status is JobStatus.CANCELLED
    done.touch()
    jobs.retry(conn, job.id, actor="ben")
    assert finished(job).status is JobStatus.SUCCEEDED
    second.terminate()
    assert second.wait() == 0

    steps = timeline(trace(conn, job.id).facts)

    runs = [step for step in steps if step.what != "waited"]
    on = {worker.pid: f"{socket.gethostname()}:{worker.pid}" for worker in (first, second)}
    # Of the run that was cancelled before the retry nothing is kept.
    assert [(step.what, step.worker, step.by) for step in runs] == [
        ("enqueued", None, None),
        ("began", on[first.pid], None),
        ("failed", on[first.pid], None),
        ("began", on[first.pid], None),
        ("failed", on[first.pid], None),
        ("began", on[first.pid], None),
        ("failed", on[first.pid], None),
        ("cancel_requested", None, "anna"),
        ("retried", None, "ben"),
        ("began", on[second.pid], None),
        ("succeeded", on[second.pid], None),
    ]
    assert [step.error.partition(" (kinds_of")[0] for step in steps if step.what == "failed"] == [
        "RuntimeError: no luck 1",
        "RuntimeError: no luck 2",
        "the worker process running this job died or lost its lease (once so far)",
    ]
    assert [step.attempt for step in steps if step.attempt] == [1, 1, 2, 2, 3, 3, 1, 1]
    assert [step.seconds is not None for step in steps if step.attempt] == [False, True] * 4
    assert [each.at for each in steps] == sorted(each.at for each in steps)
    assert {step.why for step in steps if step.what == "waited"} == {"not_known"}
    assert sql("SELECT pid, ended_how FROM haulier.worker_past ORDER BY ended_at") == [
        (first.pid, "buried"),
        (second.pid, "stopped"),
    ]
