"""Stopping loses nothing and blames nobody, however often and to whomever the signal is sent."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack, closing, suppress

import pytest

from haulier.domain.errors import TooManyConnections
from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.health import overview
from tests.conftest import eventually
from tests.worker.waiting import AT_ONCE, GRANTED


def test_lets_running_jobs_finish_and_exits_0(spawn_worker, start_job, finished, conn):
    worker = spawn_worker()
    job = start_job("t.note", {"seconds": 1})

    worker.terminate()

    assert worker.wait() == 0
    assert (finished(job).status, finished(job).attempts) == (JobStatus.SUCCEEDED, 1)
    assert overview.overview(conn).health.workers == 0


def test_gives_back_what_it_cannot_finish_in_time_without_blame(spawn_worker, enqueue, conn, ledger, tmp_path):
    workers = [spawn_worker(WORKER_THREADS=4, SHUTDOWN_SECONDS=4) for _ in range(2)]
    deaf = [enqueue("t.deaf", {"file": str(tmp_path / "never")}) for _ in range(4)]
    polite = [enqueue("t.cancelled") for _ in range(4)]
    eventually(lambda: len(ledger.entries("start")) == 8)
    waiting = [enqueue("t.note") for _ in range(10)]

    began = time.monotonic()
    for _ in range(3):
        for worker in workers:
            worker.terminate()
        eventually(lambda: all("stopping" in worker.log for worker in workers))

    assert [worker.wait() for worker in workers] == [0, 0]
    assert time.monotonic() - began < 4 + GRANTED
    for job in (*deaf, *polite, *waiting):
        job = search.get(conn, job.id)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    assert len(ledger.entries("stop:shutdown")) == 4


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
def test_gives_back_what_it_cannot_finish_if_no_further_connection_is_to_be_had(
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

    for job in jobs:
        job = search.get(conn, job.id)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    assert overview.overview(conn).health.workers == 0


def test_does_not_charge_a_job_that_it_cut_off_with_the_error_this_provoked(spawn_worker, start_job, conn):
    worker = spawn_worker(SHUTDOWN_SECONDS=2)
    job = start_job("t.upset", max_attempts=1)

    worker.terminate()

    assert worker.wait() == 0
    job = search.get(conn, job.id)
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)


def test_one_ctrl_c_after_sigterm_does_not_cut_it_short(spawn_worker, start_job, finished):
    worker = spawn_worker()
    job = start_job("t.note", {"seconds": 2})

    worker.terminate()
    eventually(lambda: "stopping" in worker.log)
    os.kill(worker.pid, signal.SIGINT)

    assert worker.wait() == 0
    assert finished(job).status == JobStatus.SUCCEEDED


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
    worker = spawn_worker(DATABASE_URL=proxy.url, SHUTDOWN_SECONDS=3)
    start_job("t.note", {"seconds": 0.5})

    proxy.go_away()
    worker.terminate()

    assert worker.wait(3 + GRANTED) == 0


def test_stops_before_it_ever_reached_the_database(spawn_worker):
    worker = spawn_worker(DATABASE_URL="postgresql://127.0.0.1:1/nowhere", wait=False)
    eventually(lambda: "the database is away" in worker.log)

    worker.terminate()

    assert worker.wait(AT_ONCE) == 0


def test_refuses_to_start_in_one_line_that_quotes_no_password(spawn_worker, fresh_database):
    refusals = {
        fresh_database: "the database holds no Haulier schema: run `python -m haulier migrate`",
        "postgres://u:sword%fish@127.0.0.1/x": "DATABASE_URL cannot be read as a connection string",
        "": "DATABASE_URL is not set",
    }
    workers = {url: spawn_worker(DATABASE_URL=url, wait=False) for url in refusals}

    for url, says in refusals.items():
        assert workers[url].wait() == 1
        [line] = workers[url].log.splitlines()
        assert line.startswith(f"haulier worker: {says}")
        assert "fish" not in line


def test_goes_on_measuring_while_it_drains_for_its_replacement(
    spawn_worker, enqueue, ledger, tmp_path, free_port, metric
):
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
    eventually(lambda: "another process has it" in second.log)

    assert second.log.count("another process has it") == 1
    finished(enqueue("t.note"))
    first.wait()


def test_takes_the_next_free_metrics_port_if_none_was_asked_for(spawn_worker):
    with ExitStack() as stack:
        # Somebody else on this machine may have it already.
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 9091)))

        worker = spawn_worker(WORKER_METRICS_PORT="")

        [port] = re.findall(r"WARNING .* metrics at 127\.0\.0\.1:(\d+), since another process has 9091", worker.log)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            assert "worker_threads" in response.read().decode()


def test_says_at_info_that_a_job_has_succeeded_unless_log_jobs_is_off(spawn_worker, enqueue, finished):
    workers = {queue: spawn_worker(WORKER_QUEUES=queue, LOG_JOBS=queue, LOG_LEVEL="INFO") for queue in ("on", "off")}

    jobs = {queue: [finished(enqueue(kind, queue=queue)) for kind in ("t.note", "t.fails")] for queue in workers}

    for queue, (succeeded, failed) in jobs.items():
        eventually(lambda failed=failed, queue=queue: f"job_id={failed.id}" in workers[queue].log)
        told = re.search(rf"INFO .*completed in [\d.]+ s job_id={succeeded.id}", workers[queue].log)
        assert bool(told) is (queue == "on")


def test_counts_what_it_does(spawn_worker, enqueue, finished, free_port):
    spawn_worker(WORKER_METRICS_PORT=free_port)
    finished(enqueue("t.note"))
    finished(enqueue("t.fails"))
    finished(enqueue("t.raises", max_attempts=2))

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics") as response:
            return response.read().decode()

    eventually(lambda: 'worker_jobs_completed_total{kind="t.raises",outcome="failed_permanent"} 1.0' in scrape())
    text = scrape()
    assert 'worker_jobs_completed_total{kind="t.note",outcome="succeeded"} 1.0' in text
    assert 'worker_jobs_completed_total{kind="t.fails",outcome="failed_permanent"} 1.0' in text
    assert 'worker_jobs_completed_total{kind="t.raises",outcome="retrying"} 1.0' in text
    assert 'worker_jobs_started_total{kind="t.raises"} 2.0' in text
    assert "worker_threads 8.0" in text
    ages = dict(re.findall(r"^worker_(\w+)_age_seconds ([0-9.e+-]+)$", text, flags=re.MULTILINE))
    assert ages.keys() == {"beat", "poll", "listen", "housekeeping"}
    assert all(0 <= float(age) < 30 for age in ages.values())


def test_gives_back_the_others_if_somebody_has_locked_one(spawn_worker, start_jobs, conn, database, tmp_path):
    worker = spawn_worker(SHUTDOWN_SECONDS=2)
    jobs = start_jobs(4, "t.deaf", {"file": str(tmp_path / "never")})
    with closing(connect(database)) as rival:
        rival.autocommit = False
        with rival.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [jobs[0].id])

        worker.terminate()

        assert worker.wait() == 0
    statuses = [(job.status, job.attempts) for job in (search.get(conn, job.id) for job in jobs)]
    assert statuses == [(JobStatus.RUNNING, 1), *[(JobStatus.QUEUED, 0)] * 3]
