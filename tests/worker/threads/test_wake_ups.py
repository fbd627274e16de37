"""An idle worker is woken, also for a changed job, a busy one is left alone: in real processes with rare polls."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta

from haulier.domain.job import JobStatus, NewJob
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.change import Changes
from tests import queueing
from tests.conftest import eventually
from tests.worker.conftest import RARELY, WOKEN_WITHIN
from tests.worker.waiting import AT_ONCE, let_pass

LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haulier listener' AND datname = current_database()"
)


def test_an_idle_worker_starts_a_job_within_tens_of_milliseconds(spawn_worker, fall_asleep, latency, sql):
    spawn_worker(POLL_SECONDS=RARELY)
    fall_asleep()

    took = [latency() for _ in range(20)]

    assert statistics.median(took) < 0.05
    assert max(took) < WOKEN_WITHIN

    sql("DELETE FROM haulier.sleeper")
    sql(LISTENERS.replace("count(*)", "pg_terminate_backend(pid)"))
    fall_asleep()
    assert latency() < WOKEN_WITHIN


def test_a_worker_that_has_more_than_it_can_take_wakes_the_others(spawn_worker, fall_asleep, conn, ledger):
    workers = [spawn_worker(POLL_SECONDS=RARELY, WORKER_THREADS=1) for _ in range(3)]
    fall_asleep(3)

    queueing.enqueue(conn, [NewJob("t.note", {"seconds": 5}) for _ in range(6)])

    # Alone the first would take half a minute.
    pids = {worker.pid for worker in workers}
    eventually(lambda: {entry.pid for entry in ledger.entries("start")} == pids, within=WOKEN_WITHIN)


def test_a_knock_at_a_busy_worker_reaches_another(spawn_worker, fall_asleep, start_jobs, latency, tmp_path):
    for _ in range(3):
        spawn_worker(POLL_SECONDS=RARELY, WORKER_THREADS=1)
    fall_asleep(3)
    start_jobs(2, "t.deaf", {"file": str(tmp_path / "go")})

    took = [latency() for _ in range(10)]

    (tmp_path / "go").touch()
    assert max(took) < WOKEN_WITHIN


def test_a_knock_at_a_worker_that_is_stopping_reaches_another(spawn_worker, fall_asleep, start_job, latency, tmp_path):
    stopping = spawn_worker(POLL_SECONDS=RARELY)
    fall_asleep()
    start_job("t.deaf", {"file": str(tmp_path / "go")})
    spawn_worker(POLL_SECONDS=RARELY)
    fall_asleep(2)
    stopping.terminate()
    eventually(lambda: "stopping" in stopping.log)

    took = [latency() for _ in range(10)]

    (tmp_path / "go").touch()
    assert max(took) < WOKEN_WITHIN
    assert stopping.wait() == 0


def test_a_worker_killed_in_its_sleep_is_soon_woken_no_more(spawn_worker, fall_asleep, latency, sleepers, sql):
    # A job for which nobody is woken waits for most of a poll.
    settings = {"LEASE_SECONDS": 18, "POLL_SECONDS": 4}
    workers = {worker.pid: worker for worker in (spawn_worker(**settings) for _ in range(2))}
    fall_asleep(2)
    [(dead,)] = sql("SELECT pid FROM haulier.worker ORDER BY beat_at DESC LIMIT 1")
    workers[dead].kill()
    fresher = "SELECT 1 FROM haulier.worker WHERE pid = %s AND beat_at < (SELECT max(beat_at) FROM haulier.worker)"
    eventually(lambda: sql(fresher, dead))

    took = []
    for _ in range(6):
        # So that the next job is not found by a look after the last one.
        let_pass(0.4)
        took.append(latency())

    assert sleepers() == 2
    assert sum(each > 2 for each in took) <= 1, took


def test_a_flood_of_inserts_sends_few_knocks_at_a_worker_that_keeps_up(spawn_worker, fall_asleep, conn, heard):
    spawn_worker(POLL_SECONDS=RARELY)
    fall_asleep()
    count, until = 0, time.monotonic() + 2

    # Nothing to do, so that it is not by work that the worker is kept from sleeping.
    while time.monotonic() < until:
        queueing.enqueue(conn, [NewJob("t.note", {}, delay=timedelta(hours=1))])
        count += 1

    assert len(heard()) < count / 3


def test_without_wake_ups_a_job_starts_within_a_poll_and_nobody_listens(spawn_worker, latency, sql, sleepers, heard):
    spawn_worker(WAKE_UPS="off", POLL_SECONDS=0.2)

    took = [latency() for _ in range(20)]

    # On a busy machine some wait for the processor as well. With the default poll, of a second, half would take longer.
    assert statistics.median(took) < 0.2 + 0.05
    assert max(took) < AT_ONCE
    assert (sleepers(), heard(), sql(LISTENERS)) == (0, [], [(0,)])


def test_without_wake_ups_a_cancel_is_heard_long_before_the_next_beat(spawn_worker, start_job, ledger, finished, conn):
    spawn_worker(WAKE_UPS="off", LEASE_SECONDS=90)
    job = start_job("t.cancelled")
    asked = time.monotonic()

    job_acts.cancel(conn, job.id)

    [stop] = eventually(lambda: ledger.entries("stop:cancelled", job))
    assert stop.at - asked < AT_ONCE
    assert finished(job).status == JobStatus.CANCELLED


def test_an_idle_worker_starts_a_changed_job_in_time(spawn_worker, fall_asleep, heard, enqueue, ledger, latency, conn):
    later = timedelta(hours=1)
    changes_of = [
        (enqueue("t.note", delay=later), {"delay_seconds": 0}),
        (enqueue("t.note", delay=later), {"delay_seconds": 1}),
        (enqueue("t.note", delay=later, priority=5), {"run_at": "2020-01-01T00:00:00Z", "priority": -5}),
        (enqueue("t.note", queue="parked"), {"queue": "default"}),
        (enqueue("t.note", queue="parked", priority=7), {"queue": "default", "priority": 0}),
    ]
    spawn_worker(POLL_SECONDS=RARELY, WORKER_QUEUES="default")
    for job, changes in changes_of:
        # So that the worker's mark is behind the job's place.
        latency()
        fall_asleep()
        heard()
        changed = time.monotonic()

        job_acts.change(conn, job.id, Changes.of(**changes))

        [start] = eventually(lambda job=job: ledger.entries("start", job))
        assert 0.9 * changes.get("delay_seconds", 0) < start.at - changed < WOKEN_WITHIN, changes
        # A worker may look by itself at this very moment.
        assert len(heard()) == 1


def test_a_job_that_is_moved_into_a_busy_lane_starts_soon(spawn_worker, enqueue, ledger, conn, sql):
    jobs = {priority: enqueue("t.note", queue="parked") for priority in (0, 5)}
    spawn_worker(POLL_SECONDS=RARELY, WORKER_QUEUES="default", WORKER_THREADS=2)
    queueing.enqueue(conn, [NewJob("t.note", {"seconds": 0.05}) for _ in range(400)])
    eventually(lambda: len(ledger.entries("start")) > 20)
    for priority, job in jobs.items():
        changed = time.monotonic()

        job_acts.change(conn, job.id, Changes.of(queue="default", priority=priority))

        [start] = eventually(lambda job=job: ledger.entries("start", job))
        # Two threads start 40 of the others in a second.
        assert len([each for each in ledger.entries("start") if changed < each.at < start.at]) < 40
    assert sql("SELECT count(*) > 0 FROM haulier.job") == [(True,)]
