"""A running job hears of its cancel, and ends cancelled whatever its handler does."""

from __future__ import annotations

import statistics
import time

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import jobs
from tests.conftest import eventually


@pytest.fixture(scope="module")
def shared(share_worker):
    return share_worker()


def test_a_running_job_hears_of_its_cancel_well_under_a_second(worker):
    delays = []

    for _ in range(20):
        job, _ = worker.start("t.cancelled")
        cancelled_at = time.monotonic()
        assert worker.cancel(job).status == JobStatus.CANCELLED
        [stop] = worker.ledger.entries("stop:cancelled", job)
        delays.append(stop.at - cancelled_at)

    assert statistics.median(delays) < 0.5


def test_hears_of_a_cancel_without_notifications_too(worker):
    job, _ = worker.start("t.cancelled")

    with worker.conn.cursor() as cursor:
        # As `cancel` does, but without the knock.
        cursor.execute("UPDATE haulier.job SET cancel_requested = true WHERE id = %s", [job.id])

    assert worker.finished(job).status == JobStatus.CANCELLED


def test_a_cancel_accepted_while_running_beats_the_handlers_success(worker, tmp_path):
    job, _ = worker.start("t.deaf", {"file": str(tmp_path / "go")})

    assert jobs.cancel(worker.conn, job.id) is False
    (tmp_path / "go").touch()

    job = worker.finished(job)
    assert (job.status, job.result, job.attempts) == (JobStatus.CANCELLED, None, 1)
    assert worker.ledger.entries("end", job)


def test_a_cancelled_job_can_be_retried_and_runs_again(worker):
    job, _ = worker.start("t.cancelled")
    worker.cancel(job)

    again = jobs.retry(worker.conn, job.id)

    assert (again.status, again.attempts, again.cancel_requested) == (JobStatus.QUEUED, 0, False)
    eventually(lambda: len(worker.ledger.entries("start", job)) == 2)
    worker.cancel(job)
