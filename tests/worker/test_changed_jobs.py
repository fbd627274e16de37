"""A job that was changed starts as soon as a new one would; in real processes, with polls too rare to help out."""

from __future__ import annotations

import time
from datetime import timedelta

from haulier.domain.job import NewJob
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.change import Changes
from tests import queueing
from tests.conftest import eventually
from tests.worker.conftest import RARELY, WOKEN_WITHIN


def test_an_idle_worker_starts_a_changed_job_within_a_second(
    spawn_worker, fall_asleep, heard, enqueue, ledger, latency, conn
):
    later = timedelta(hours=1)
    changes_of = [
        (enqueue("t.note", delay=later), {"delay_seconds": 0}),
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
        assert start.at - changed < WOKEN_WITHIN, changes
        # A worker may look by itself at this very moment.
        assert len(heard()) == 1


def test_an_idle_worker_learns_of_a_sooner_time_that_is_still_to_come(
    spawn_worker, fall_asleep, heard, enqueue, ledger, conn
):
    job = enqueue("t.note", delay=timedelta(hours=1))
    spawn_worker(POLL_SECONDS=RARELY)
    fall_asleep()
    heard()
    changed = time.monotonic()

    job_acts.change(conn, job.id, Changes.of(delay_seconds=1))

    [start] = eventually(lambda: ledger.entries("start", job))
    assert 0.9 < start.at - changed < WOKEN_WITHIN
    assert heard()


def test_beside_a_busy_lane_a_job_that_is_moved_before_its_mark_starts_within_a_second(
    spawn_worker, enqueue, ledger, conn
):
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
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM haulier.job")
        assert cursor.fetchone() == (True,)
