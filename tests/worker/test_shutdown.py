"""Stopping loses nothing and blames nobody, however often and to whomever the signal is sent."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import ExitStack, closing, suppress

import pytest
import requests

from haulier.domain.errors import TooManyConnections
from haulier.domain.job import Job, JobStatus
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.health import overview
from tests.conftest import eventually
from tests.worker.waiting import AT_ONCE, GRANTED


def test_lets_running_jobs_finish_and_exits_0(spawn_worker, start_job, finished, conn, sql, tmp_path):
    worker = spawn_worker()
    job = start_job("t.deaf", {"file": str(tmp_path / "go")})

    worker.terminate()

    eventually(lambda: sql("SELECT stopping FROM haulier.worker") == [(True,)])
    # One Ctrl-C after it does not cut it short.
    os.kill(worker.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    assert worker.wait() == 0
    assert (finished(job).status, finished(job).attempts) == (JobStatus.SUCCEEDED, 1)
    assert overview.overview(conn).health.workers == 0


def are_given_back(conn, jobs: list[Job]) -> None:
    now = [search.get(conn, job.id) for job in jobs]
    assert {(job.status, job.attempts, job.crashes) for job in now} == {(JobStatus.QUEUED, 0, 0)}


def test_gives_back_what_it_cannot_finish_in_time_without_blame(spawn_worker, enqueue, conn, ledger, tmp_path):
    workers = [spawn_worker(WORKER_THREADS=4, SHUTDOWN_SECONDS=3) for _ in range(2)]
    jobs = [enqueue("t.deaf", {"file": str(tmp_path / "never")}) for _ in range(4)]
    jobs += [enqueue("t.cancelled") for _ in range(3)]
    # The error that the stop provokes is not charged either.
    jobs += [enqueue("t.upset", max_attempts=1)]
    eventually(lambda: len(ledger.entries("start")) == 8)
    jobs += [enqueue("t.note") for _ in range(10)]

    began = time.monotonic()
    for _ in range(3):
        for worker in workers:
            worker.terminate()
        eventually(lambda: all("stopping" in worker.log for worker in workers))

    assert [worker.wait() for worker in workers] == [0, 0]
    assert time.monotonic() - began < 3 + GRANTED
    are_given_back(conn, jobs)
    assert len(ledger.entries("stop:shutdown")) == 3


def test_a_second_ctrl_c_exits_at_once_and_the_job_is_rescued(spawn_worker, start_job, finished, tmp_path):
    worker = spawn_worker()
    job = start_job("t.deaf", {"file": str(tmp_path / "go")})

    os.kill(worker.pid, signal.SIGINT)
    eventually(lambda: "stopping" in worker.log)
    os.kill(worker.pid, signal.SIGINT)

    assert worker.wait(AT_ONCE) == 130
    (tmp_path / "go").touch()
    spawn_worker()
    assert finished(job).status == JobStatus.SUCCEEDED


@pytest.mark.direct("looks at the server's own connections")
def test_gives_back_what_it_cannot_finish_without_a_further_connection(
    spawn_worker, start_jobs, conn, few_connections, tmp_path
):
    url = few_connections(6)
    worker = spawn_worker(DATABASE_URL=url, WORKER_THREADS=3, SHUTDOWN_SECONDS=3)
    jobs = start_jobs(3, "t.deaf", {"file": str(tmp_path / "never")})

    with ExitStack() as taken:
        with pytest.raises(TooManyConnections):
            while True:
                taken.enter_context(closing(connect(url)))
        worker.terminate()
        worker.wait()

    are_given_back(conn, jobs)
    assert overview.overview(conn).health.workers == 0


def test_stops_in_time_while_the_database_is_silent(proxy, spawn_worker, start_job, tmp_path):
    worker = spawn_worker(DATABASE_URL=proxy.url, SHUTDOWN_SECONDS=3, STUCK_SECONDS=0.3)
    # Giving up its claim is a call that nobody answers.
    start_job("t.deaf", {"file": str(tmp_path / "never")}, timeout_seconds=1)

    proxy.silent = True
    began = time.monotonic()
    worker.terminate()

    worker.wait()
    assert time.monotonic() - began < 3 + GRANTED


def test_stops_in_time_while_the_database_is_away(proxy, spawn_worker, start_job):
    worker = spawn_worker(DATABASE_URL=proxy.url, SHUTDOWN_SECONDS=2)
    never_there = spawn_worker(DATABASE_URL="postgresql://127.0.0.1:1/nowhere", wait=False)
    start_job("t.note", {"seconds": 0.5})
    eventually(lambda: "the database is away" in never_there.log)

    proxy.go_away()
    worker.terminate()
    never_there.terminate()

    assert never_there.wait(AT_ONCE) == 0
    assert worker.wait(2 + GRANTED) == 0


def test_refuses_to_start_in_one_line_that_quotes_no_password(spawn_worker, fresh_database):
    unreadable = "postgres://u:sword%fish@127.0.0.1/x"
    refusals = [
        ("DATABASE_URL", fresh_database, "the database has no Haulier schema: run `python -m haulier migrate`"),
        ("DATABASE_URL", unreadable, "DATABASE_URL is not a valid connection string"),
        ("DATABASE_DIRECT_URL", unreadable, "DATABASE_DIRECT_URL is not a valid connection string"),
        ("DATABASE_URL", "", "DATABASE_URL is not set"),
        ("CELL", "3", "CELL=3, but the database has no number yet: run `python -m haulier migrate` with CELL=3"),
        ("CELL", "256", "CELL='256': must be a whole number from 1 to 255"),
    ]
    workers = [spawn_worker(**{setting: url}, wait=False) for setting, url, _ in refusals]

    for worker, (_, _, says) in zip(workers, refusals, strict=True):
        assert worker.wait() == 1
        [line] = worker.log.splitlines()
        assert line.startswith(f"haulier worker: {says}")
        assert "fish" not in line


def test_goes_on_measuring_while_it_waits_to_be_replaced(spawn_worker, enqueue, ledger, tmp_path, free_port, metric):
    worker = spawn_worker(STUCK_SECONDS=0.2, WORKER_METRICS_PORT=free_port)
    enqueue("t.deaf", {"file": str(tmp_path / "go")})
    enqueue("t.deaf", {"file": str(tmp_path / "never")}, timeout_seconds=1, max_attempts=1)

    eventually(lambda: "a thread is stuck" in worker.log)

    eventually(lambda: metric(free_port, "worker_poll_age_seconds") > 2)
    (tmp_path / "go").touch()
    assert worker.wait() == 1


def test_serves_its_metrics_and_goes_on_if_the_port_is_busy(spawn_worker, enqueue, finished, free_port):
    first = spawn_worker(WORKER_METRICS_PORT=free_port)
    finished(enqueue("t.note"))

    second = spawn_worker(WORKER_METRICS_PORT=free_port)
    first.terminate()
    eventually(lambda: "another process uses the port" in second.log)

    assert second.log.count("another process uses the port") == 1
    finished(enqueue("t.note"))
    first.wait()


def test_takes_the_next_free_metrics_port_if_none_was_asked_for(spawn_worker):
    with ExitStack() as stack:
        # Somebody else on this machine may have it already.
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 9091)))

        worker = spawn_worker(WORKER_METRICS_PORT="")

        [port] = re.findall(r"WARNING .* metrics at 127\.0\.0\.1:(\d+), because another process uses 9091", worker.log)
        assert "worker_threads" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text


def test_says_at_info_that_a_job_has_succeeded_unless_log_jobs_is_off(spawn_worker, enqueue, finished):
    for setting in ("on", "off"):
        worker = spawn_worker(WORKER_QUEUES=setting, LOG_JOBS=setting, LOG_LEVEL="INFO")
        succeeded = finished(enqueue("t.note", queue=setting))
        failed = finished(enqueue("t.ends", {"which": "fail"}, queue=setting))

        eventually(lambda worker=worker, failed=failed: f"job_id={failed.id}" in worker.log)
        told = re.search(rf"INFO .*completed in [\d.]+ s job_id={succeeded.id}", worker.log)
        assert bool(told) is (setting == "on")


def test_gives_back_the_others_if_somebody_has_locked_one(spawn_worker, start_jobs, conn, database, tmp_path):
    worker = spawn_worker(SHUTDOWN_SECONDS=2)
    locked, *others = start_jobs(4, "t.deaf", {"file": str(tmp_path / "never")})
    with closing(connect(database)) as rival, rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [locked.id])

        worker.terminate()

        assert worker.wait() == 0
    are_given_back(conn, others)
    locked = search.get(conn, locked.id)
    assert (locked.status, locked.attempts) == (JobStatus.RUNNING, 1)
