"""Several workers, many jobs: each is run once, and ends once."""

from __future__ import annotations

import os
import random
from collections import Counter

from haulier.domain.errors import InvalidTransition
from haulier.domain.job import FINAL_STATUSES, JobStatus, NewJob
from haulier.kinds.sdk.simulated import failing_step
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.health import overview
from tests import queueing
from tests.conftest import eventually

# `make race` raises it to 20,000.
SIMULATED_JOBS = int(os.environ.get("SIMULATED_JOBS", "4000"))


def test_two_workers_with_eight_threads_run_200_jobs_once_each(spawn_worker, conn, ledger):
    # Both are there before the jobs: else the first may have run them all when the second has started.
    for _ in range(2):
        spawn_worker(WORKER_THREADS=8)

    jobs = [receipt.job for receipt in queueing.enqueue(conn, [NewJob("t.note", {"seconds": 0.02})] * 200)]

    eventually(lambda: overview.overview(conn).depths == [])
    assert ledger.counts("start") == {str(job.id): 1 for job in jobs}
    assert ledger.counts("end") == {str(job.id): 1 for job in jobs}
    assert len({entry.pid for entry in ledger.entries("start")}) == 2
    assert {search.get(conn, job.id).status for job in jobs} == {JobStatus.SUCCEEDED}


def test_simulated_jobs_with_failures_and_cancels_end_once_as_the_hash_says(spawn_worker, conn):
    new = NewJob("summarize_text", {"text": "One sentence."}, queue="simulated")
    jobs = [
        receipt.job
        for start in range(0, SIMULATED_JOBS, 1000)
        for receipt in queueing.enqueue(conn, [new] * min(1000, SIMULATED_JOBS - start))
    ]
    for _ in range(2):
        spawn_worker(EXECUTOR="simulated", WORKER_THREADS=8, LOG_LEVEL="WARNING", LEASE_SECONDS=30, wait=False)

    cancelled, pending, late = set(), set(), set()
    for job in random.Random(1).sample(jobs, SIMULATED_JOBS // 20):
        try:
            (cancelled if job_acts.cancel(conn, job.id) else pending).add(job.id)
        except InvalidTransition:
            late.add(job.id)
    eventually(lambda: overview.overview(conn).depths == [], within=30 + SIMULATED_JOBS / 100)

    with conn.cursor() as cursor:
        cursor.execute("SELECT id, status, attempts FROM haulier.finished_job")
        ended = cursor.fetchall()
    assert len(ended) == len({row[0] for row in ended}) == SIMULATED_JOBS
    status = {row[0]: JobStatus(row[1]) for row in ended}
    assert set(status.values()) <= set(FINAL_STATUSES)
    # Cancelled exactly when a cancel was accepted; the second attempt succeeds, so nothing fails for good.
    assert {job_id for job_id in status if status[job_id] == JobStatus.CANCELLED} == cancelled | pending
    assert Counter(status.values())[JobStatus.FAILED_PERMANENT] == 0
    for job_id, state, attempts in ended:
        if state == JobStatus.SUCCEEDED:
            assert attempts == (1 if failing_step(job_id, 1) is None else 2)
    assert Counter(attempts for _, state, attempts in ended if state == JobStatus.SUCCEEDED) == Counter(
        1 if failing_step(job.id, 1) is None else 2 for job in jobs if job.id not in cancelled | pending
    )
