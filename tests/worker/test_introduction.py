"""What a worker process says of itself in its row. It ..."""

from __future__ import annotations

from haulier.domain.job import JobStatus
from haulier.queue import search
from haulier.version import version as own_version
from tests.conftest import eventually


def test_says_its_version_and_the_kinds_that_it_knows(spawn_worker, sql):
    spawn_worker()

    # It registers first.
    eventually(lambda: sql("SELECT version FROM haulier.worker") != [(None,)])
    [(version, kinds, quiet, stopping)] = sql("SELECT version, kinds, quiet, stopping FROM haulier.worker")

    assert (version, quiet, stopping) == (own_version(), False, False)
    assert {"send_email", "t.note"} <= set(kinds)
    assert kinds == sorted(kinds)


def test_says_that_it_stops_while_it_lets_its_jobs_finish(spawn_worker, start_job, finished, sql, tmp_path):
    process = spawn_worker()
    job = start_job("t.deaf", {"file": str(tmp_path / "go")})

    process.terminate()

    eventually(lambda: sql("SELECT stopping FROM haulier.worker") == [(True,)])
    (tmp_path / "go").touch()
    assert process.wait() == 0
    assert finished(job).status is JobStatus.SUCCEEDED


def test_claims_nothing_while_it_is_quiet_and_is_woken_for_nothing(spawn_worker, enqueue, finished, sql, conn):
    quiet = spawn_worker()
    [(worker,)] = sql("UPDATE haulier.worker SET quiet = true RETURNING id")
    other = spawn_worker()

    jobs = [enqueue("t.note") for _ in range(10)]
    for job in jobs:
        finished(job)
    other.terminate()
    assert other.wait() == 0
    waiting = enqueue("t.note")
    [(beat,)] = sql("SELECT beat_at FROM haulier.worker WHERE id = %s", worker)

    # It lives, and has had the time to look.
    eventually(lambda: sql("SELECT 1 FROM haulier.worker WHERE beat_at > %s + interval '2 s'", beat))
    assert search.get(conn, waiting.id).status is JobStatus.QUEUED
    assert sql("SELECT count(*) FROM haulier.finished_job WHERE status = 'succeeded'") == [(10,)]
    sql("UPDATE haulier.worker SET quiet = false")
    assert finished(waiting).status is JobStatus.SUCCEEDED
    assert "registered as worker" in quiet.log
