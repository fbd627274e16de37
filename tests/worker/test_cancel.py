"""A running job hears of its cancel, and ends cancelled whatever its handler does."""

from __future__ import annotations

import statistics
import time

from haulier.domain.job import JobStatus
from haulier.queue import produce
from lab.proxy import proxy_to
from tests.conftest import eventually


def test_a_running_job_hears_of_its_cancel_well_under_a_second(spawn_worker, enqueue, finished, conn, ledger):
    spawn_worker()
    heard = []

    for _ in range(20):
        job = enqueue("t.cancelled")
        eventually(lambda job=job: ledger.entries("start", job))
        asked = time.monotonic()
        assert produce.cancel(conn, job.id) is False
        [stop] = eventually(lambda job=job: ledger.entries("stop:cancelled", job))
        heard.append(stop.at - asked)
        assert finished(job).status == JobStatus.CANCELLED

    assert statistics.median(heard) < 0.5


def test_hears_of_a_cancel_without_notifications_too(spawn_worker, enqueue, finished, conn, ledger, database):
    with proxy_to(database) as proxy:
        worker = spawn_worker(DATABASE_URL=proxy.url)
        job = enqueue("t.cancelled")
        eventually(lambda: ledger.entries("start", job))

        with conn.cursor() as cursor:
            # As produce.cancel does, but for the knock.
            cursor.execute("UPDATE haulier.job SET cancel_requested = true WHERE id = %s", [job.id])

        assert finished(job).status == JobStatus.CANCELLED
        worker.kill()


def test_a_cancel_accepted_while_running_beats_the_handlers_success(
    spawn_worker, enqueue, finished, conn, ledger, tmp_path
):
    spawn_worker()
    job = enqueue("t.deaf", {"file": str(tmp_path / "go")})
    eventually(lambda: ledger.entries("start", job))

    assert produce.cancel(conn, job.id) is False
    (tmp_path / "go").touch()

    job = finished(job)
    assert (job.status, job.result, job.attempts) == (JobStatus.CANCELLED, None, 1)
    assert ledger.entries("end", job)


def test_a_cancelled_job_can_be_retried_and_runs_again(spawn_worker, enqueue, finished, conn, ledger):
    spawn_worker()
    job = enqueue("t.cancelled")
    eventually(lambda: ledger.entries("start", job))
    produce.cancel(conn, job.id)
    finished(job)

    again = produce.retry(conn, job.id)

    assert (again.status, again.attempts, again.cancel_requested) == (JobStatus.QUEUED, 0, False)
    eventually(lambda: len(ledger.entries("start", job)) == 2)
    produce.cancel(conn, job.id)
    finished(job)
