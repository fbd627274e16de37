"""Workers far from their database. Each test runs at 10 and at 50 ms. ..."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from haulier.domain.job import JobStatus, NewJob
from tests import queueing
from tests.conftest import eventually
from tests.hosts.conftest import Far, far_away
from tests.queue.schedules.schedules import account, plant
from tests.web import gunicorn
from tests.worker.conftest import RARELY, WOKEN_WITHIN

pytestmark = pytest.mark.slow

LEASE_SECONDS = 3.0


@pytest.fixture(scope="module", params=[0.01, 0.05], ids=["10 ms", "50 ms"])
def far(network, server, request, tmp_path_factory) -> Iterator[Far]:
    """Give two workers, each on a host of its own, which do not look for work unless they are woken."""
    with far_away(network, server, tmp_path_factory.mktemp("far"), request.param) as far:
        for host in (0, 1):
            far.spawn(host, WORKER_THREADS=4, POLL_SECONDS=RARELY, LEASE_SECONDS=LEASE_SECONDS, LOG_LEVEL="INFO")
        yield far


def test_each_job_runs_once(far):
    jobs = [receipt.job for receipt in queueing.enqueue(far.conn, [NewJob("t.note", {}) for _ in range(500)])]

    eventually(lambda: far.sql("SELECT count(*) FROM haulier.job") == [(0,)])

    ends = far.sql("SELECT DISTINCT status, attempts, crashes, last_error FROM haulier.finished_job")
    assert ends == [("succeeded", 1, 0, None)]
    starts = far.ledger.counts("start")
    assert {starts[str(job.id)] for job in jobs} == {1}


def test_a_lone_job_is_started_by_a_wake_up(far):
    eventually(lambda: far.sql("SELECT count(*) FROM haulier.sleeper") == [(2,)])
    waits = []
    for _ in range(7):
        job = far.enqueue("t.note")
        enqueued_at = time.monotonic()
        [entry] = eventually(lambda job=job: far.ledger.entries("start", job))
        waits.append(entry.at - enqueued_at)
        far.finished(job)

    print(f"started {1000 * statistics.median(waits):.0f} ms after the INSERT")
    # Mostly half a round trip, for the notification, and one for the claim; a claim may be under way already.
    assert min(waits) >= far.network.wire.round_trip / 2
    assert max(waits) < WOKEN_WITHIN


def test_no_job_of_a_queue_starts_a_second_after_its_pause(far):
    queueing.enqueue(far.conn, [NewJob("t.note", {"seconds": 0.02}, queue="mail") for _ in range(1500)])
    begun = len(far.ledger.entries("start"))
    with gunicorn(far.url, eventually, AUTH="off") as server:
        eventually(lambda: len(far.ledger.entries("start")) > begun + 50)

        assert requests.post(f"{server.url}/queues/mail/pause", json={}, timeout=20).ok
        paused_at = time.monotonic()
        threading.Event().wait(2)
        late = [entry.at - paused_at for entry in far.ledger.entries("start") if entry.at > paused_at]
        assert far.sql("SELECT count(*) FROM haulier.job WHERE queue = 'mail'") > [(100,)]

        assert requests.post(f"{server.url}/queues/mail/resume", timeout=20).ok
    print(f"{len(late)} jobs started after the pause, the last {1000 * max(late, default=0):.0f} ms after")
    assert max(late, default=0) < 1
    eventually(lambda: far.sql("SELECT count(*) FROM haulier.job") == [(0,)])


def test_each_tick_of_a_schedule_fires_once_and_on_time(far):
    plant(far.sql, "each-second", job={"kind": "t.note", "payload": {}})

    eventually(lambda: far.sql("SELECT count(*) FROM haulier.tick") >= [(6,)])

    far.sql("DELETE FROM haulier.schedule")
    found = account(far.sql)
    late = far.sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick ORDER BY scheduled_at")
    # The first are as late as the workers' look for their first schedule.
    print(f"fired {1000 * statistics.median(seconds for (seconds,) in late[-3:]):.0f} ms after their time")
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"]
    assert min(late[-3:]) < (1,)
    eventually(lambda: far.sql("SELECT count(*) FROM haulier.job") == [(0,)])


def test_jobs_of_a_killed_worker_run_elsewhere_within_the_lease(far, tmp_path):
    doomed, killed = far.spawn(2, WORKER_THREADS=2, LEASE_SECONDS=LEASE_SECONDS), tmp_path / "killed"
    # As many as there are threads.
    jobs = [far.enqueue("t.deaf", {"file": str(killed)}) for _ in range(10)]
    eventually(lambda: sum(far.ledger.counts("start")[str(job.id)] for job in jobs) == 10)

    doomed.kill()
    killed.touch()

    ended = [far.finished(job) for job in jobs]
    again = [job for job in ended if job.attempts > 1]
    assert {(job.status, job.attempts, job.crashes) for job in again} == {(JobStatus.SUCCEEDED, 2, 1)}
    assert [error["worker"] for job in again for error in job.errors] == [f"{socket.gethostname()}:{doomed.pid}"] * 2
    [(buried,)] = far.sql("SELECT extract(epoch FROM ended_at - beat_at)::float FROM haulier.worker_past")
    print(f"declared dead {buried:.1f} s after its last beat")
    # The second of the promise, and time for a busy machine.
    assert LEASE_SECONDS <= buried < LEASE_SECONDS + 1 + 2
