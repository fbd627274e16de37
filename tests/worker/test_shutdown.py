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
from haulier.queue import produce
from lab.proxy import proxy_to
from tests.conftest import eventually
from tests.worker.waiting import AT_ONCE, GRANTED


def test_lets_running_jobs_finish_and_exits_0(spawn_worker, enqueue, finished, ledger, conn):
    worker = spawn_worker()
    job = enqueue("t.note", {"seconds": 1})
    eventually(lambda: ledger.entries("start", job))

    worker.terminate()

    assert worker.wait() == 0
    assert (finished(job).status, finished(job).attempts) == (JobStatus.SUCCEEDED, 1)
    assert produce.overview(conn).health.workers == 0


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
        job = produce.get(conn, job.id)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    assert len(ledger.entries("stop:shutdown")) == 4


def test_a_second_ctrl_c_exits_at_once_and_the_job_is_rescued(spawn_worker, enqueue, finished, ledger, tmp_path):
    worker = spawn_worker()
    job = enqueue("t.deaf", {"file": str(tmp_path / "go")})
    eventually(lambda: ledger.entries("start", job))

    os.kill(worker.pid, signal.SIGINT)
    eventually(lambda: "stopping" in worker.log)
    os.kill(worker.pid, signal.SIGINT)

    assert worker.wait(AT_ONCE) == 130
    (tmp_path / "go").touch()
    spawn_worker()
    assert finished(job).status == JobStatus.SUCCEEDED


@pytest.mark.direct("looks at the server's own connections")
def test_gives_back_what_it_cannot_finish_where_no_further_connection_is_to_be_had(
    spawn_worker, enqueue, conn, ledger, few_connections, tmp_path
):
    url = few_connections(6)
    worker = spawn_worker(DATABASE_URL=url, WORKER_THREADS=3, SHUTDOWN_SECONDS=3)
    jobs = [enqueue("t.deaf", {"file": str(tmp_path / "never")}) for _ in range(3)]
    eventually(lambda: len(ledger.entries("start")) == 3)

    with ExitStack() as taken:
        with pytest.raises(TooManyConnections):
            while True:
                taken.enter_context(closing(connect(url)))
        worker.terminate()
        worker.wait()

    for job in jobs:
        job = produce.get(conn, job.id)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    assert produce.overview(conn).health.workers == 0


def test_does_not_charge_a_job_that_it_cut_off_with_the_error_this_provoked(spawn_worker, enqueue, conn, ledger):
    worker = spawn_worker(SHUTDOWN_SECONDS=2)
    job = enqueue("t.upset", max_attempts=1)
    eventually(lambda: ledger.entries("start", job))

    worker.terminate()

    assert worker.wait() == 0
    job = produce.get(conn, job.id)
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)


def test_one_ctrl_c_after_sigterm_does_not_cut_it_short(spawn_worker, enqueue, finished, ledger):
    worker = spawn_worker()
    job = enqueue("t.note", {"seconds": 2})
    eventually(lambda: ledger.entries("start", job))

    worker.terminate()
    eventually(lambda: "stopping" in worker.log)
    os.kill(worker.pid, signal.SIGINT)

    assert worker.wait() == 0
    assert finished(job).status == JobStatus.SUCCEEDED


def test_stops_in_time_while_the_database_is_silent(spawn_worker, enqueue, database, ledger, tmp_path):
    with proxy_to(database) as proxy:
        worker = spawn_worker(DATABASE_URL=proxy.url, SHUTDOWN_SECONDS=3, STUCK_SECONDS=0.3)
        # Giving up its claim is a call that nobody answers.
        job = enqueue("t.deaf", {"file": str(tmp_path / "never")}, timeout_seconds=1)
        eventually(lambda: ledger.entries("start", job))

        proxy.silent = True
        began = time.monotonic()
        worker.terminate()

        worker.wait()
        assert time.monotonic() - began < 3 + GRANTED


def test_stops_in_time_while_the_database_is_away(spawn_worker, enqueue, database, ledger):
    with proxy_to(database) as proxy:
        worker = spawn_worker(DATABASE_URL=proxy.url, SHUTDOWN_SECONDS=3)
        job = enqueue("t.note", {"seconds": 0.5})
        eventually(lambda: ledger.entries("start", job))

        proxy.go_away()
        worker.terminate()

        assert worker.wait(3 + GRANTED) == 0


def test_stops_before_it_ever_reached_the_database(spawn_worker):
    worker = spawn_worker(DATABASE_URL="postgresql://127.0.0.1:1/nowhere", wait=False)
    eventually(lambda: "the database is away" in worker.log)

    worker.terminate()

    assert worker.wait(AT_ONCE) == 0


def test_refuses_a_database_without_the_schema_in_one_line(spawn_worker, fresh_database):
    worker = spawn_worker(DATABASE_URL=fresh_database, wait=False)

    assert worker.wait() == 1
    assert worker.log.strip() == "haulier worker: the database holds no Haulier schema: run `python -m haulier migrate`"


def test_refuses_a_database_url_that_cannot_be_read_without_quoting_it(spawn_worker):
    worker = spawn_worker(DATABASE_URL="postgres://u:sword%fish@127.0.0.1/x", wait=False)

    assert worker.wait() == 1
    assert worker.log.strip() == "haulier worker: DATABASE_URL cannot be read as a connection string"


def test_refuses_to_start_without_a_database_url(spawn_worker):
    worker = spawn_worker(DATABASE_URL="", wait=False)

    assert worker.wait() == 1
    assert worker.log.startswith("haulier worker: DATABASE_URL is not set")
    assert len(worker.log.splitlines()) == 1


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


def test_serves_its_metrics_and_goes_on_where_the_port_is_busy(spawn_worker, enqueue, finished):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = spawn_worker(WORKER_METRICS_PORT=port)
    finished(enqueue("t.note"))

    second = spawn_worker(WORKER_METRICS_PORT=port)
    first.terminate()
    eventually(lambda: "another process has it" in second.log)

    assert second.log.count("another process has it") == 1
    finished(enqueue("t.note"))
    first.wait()


def test_takes_the_next_free_metrics_port_where_none_was_asked_for(spawn_worker):
    with ExitStack() as stack:
        # Somebody else on this machine may have it already.
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 9091)))

        worker = spawn_worker(WORKER_METRICS_PORT="")

        [port] = re.findall(r"WARNING .* metrics at 127\.0\.0\.1:(\d+), since another process has 9091", worker.log)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            assert "worker_threads" in response.read().decode()


@pytest.mark.parametrize(("log_jobs", "is_told"), [("on", True), ("off", False)])
def test_says_at_info_that_a_job_has_succeeded_where_it_is_to(spawn_worker, enqueue, finished, log_jobs, is_told):
    worker = spawn_worker(LOG_JOBS=log_jobs, LOG_LEVEL="INFO")
    job = enqueue("t.note")

    finished(job)
    failed = enqueue("t.fails")
    eventually(lambda: f"job_id={failed.id}" in worker.log)

    found = re.search(rf"INFO .*completed in [\d.]+ s job_id={job.id}", worker.log)
    assert bool(found) is is_told


def test_counts_what_it_does(spawn_worker, enqueue, finished):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spawn_worker(WORKER_METRICS_PORT=port)
    finished(enqueue("t.note"))
    finished(enqueue("t.fails"))
    finished(enqueue("t.raises", max_attempts=2))

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
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


def test_gives_back_the_others_where_somebody_has_locked_one(spawn_worker, enqueue, conn, ledger, database, tmp_path):
    worker = spawn_worker(SHUTDOWN_SECONDS=2)
    jobs = [enqueue("t.deaf", {"file": str(tmp_path / "never")}) for _ in range(4)]
    eventually(lambda: len(ledger.entries("start")) == 4)
    with closing(connect(database)) as rival:
        rival.autocommit = False
        with rival.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [jobs[0].id])

        worker.terminate()

        assert worker.wait() == 0
    statuses = [(job.status, job.attempts) for job in (produce.get(conn, job.id) for job in jobs)]
    assert statuses == [(JobStatus.RUNNING, 1), *[(JobStatus.QUEUED, 0)] * 3]
