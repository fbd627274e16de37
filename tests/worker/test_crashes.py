"""What dies, and what comes back: each promise of docs/promises.md about crashes, broken for real."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims as worker_claims
from haulier.queue import search
from haulier.worker.assembly import Assembly
from haulier.worker.supply.buffer import Ended
from tests import queueing
from tests.conftest import PATIENCE, eventually
from tests.rivals import beside
from tests.worker.conftest import Process
from tests.worker.jobs import a_worker, held
from tests.worker.waiting import let_pass


def test_jobs_of_a_killed_worker_run_elsewhere_within_the_lease(spawn_worker, start_jobs, finished, conn, tmp_path):
    doomed, killed = spawn_worker(WORKER_THREADS=4), tmp_path / "killed"
    jobs = start_jobs(4, "t.deaf", {"file": str(killed)})
    claims = [search.get(conn, job.id) for job in jobs]
    spawn_worker(WORKER_THREADS=4)

    doomed.kill()
    killed.touch()

    # Four jobs that went down together run one after the other: any of them may be the culprit.
    for job in jobs:
        job = finished(job)
        assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCEEDED, 2, 1)
        assert [error["worker"] for error in job.errors] == [f"{socket.gethostname()}:{doomed.pid}"]
    late = [Settlement(Fence.of(job), Outcome.complete("late")) for job in claims]
    assert worker_claims.settle(conn, late) == {}
    assert {search.get(conn, job.id).result for job in jobs} == {"done"}


@pytest.fixture
def spawn_again(spawn_worker) -> Callable[..., list[Process]]:
    """Give a function that starts workers, one after the other as each dies, until it holds; and returns them all."""

    def spawn_again(holds: Callable[[], object], *, within: float = PATIENCE, **settings: object) -> list[Process]:
        workers = [spawn_worker(wait=False, **settings)]

        def replaced_until_it_holds() -> object:
            # As the platform would.
            if workers[-1].popen.poll() is not None:
                workers.append(spawn_worker(wait=False, **settings))
            return holds()

        eventually(replaced_until_it_holds, within=within)
        return workers

    return spawn_again


DIED = "the worker process running this job died or lost its lease (3 times so far)"


def test_a_job_that_kills_its_worker_three_times_fails_alone(spawn_again, enqueue, finished, ledger, conn):
    bystanders = [enqueue("t.note", {"seconds": 0.5}) for _ in range(3)]
    poison = enqueue("t.kills")
    bystanders += [enqueue("t.note", {"seconds": 0.5}, max_attempts=1) for _ in range(3)]

    spawn_again(lambda: search.get(conn, poison.id).status.is_final, WORKER_THREADS=7, LEASE_SECONDS=1)

    job = search.get(conn, poison.id)
    assert (job.status, job.attempts, job.crashes, job.last_error) == (JobStatus.FAILED_PERMANENT, 3, 3, DIED)
    assert len(ledger.entries("start", poison)) == 3
    for bystander in bystanders:
        assert finished(bystander).status == JobStatus.SUCCEEDED


@pytest.mark.slow
def test_three_poison_jobs_among_a_thousand_fail_alone_however_many_were_claimed_with_them(spawn_again, conn, sql):
    # Late enough for the claims to have grown to a hundred and more.
    places = {500, 650, 800}
    jobs = [NewJob("t.kills" if place in places else "t.note", {}) for place in range(1000)]
    stored = [each.job for each in queueing.enqueue(conn, jobs)]

    workers = spawn_again(lambda: sql("SELECT count(*) FROM haulier.job") == [(0,)], within=100, LEASE_SECONDS=1)

    ended = [search.get(conn, job.id) for job in stored]
    poison = [job for job in ended if job.kind == "t.kills"]
    assert [(job.status, job.attempts, job.crashes, job.last_error) for job in poison] == [
        (JobStatus.FAILED_PERMANENT, 3, 3, DIED)
    ] * 3
    bystanders = [job for job in ended if job.kind != "t.kills"]
    assert {job.status for job in bystanders} == {JobStatus.SUCCEEDED}
    # They did go down with it, and once only: from then on each ran alone.
    assert sum(job.crashes for job in bystanders) >= 100
    assert max(job.crashes for job in bystanders) == 1
    assert len(workers) - 1 <= 3 * 3


def test_a_suspect_runs_with_nothing_else_in_its_process(spawn_worker, enqueue, finished, ledger, sql):
    suspects = [enqueue("t.note", {"seconds": 0.3}) for _ in range(3)]
    sql("UPDATE haulier.job SET crashes = 1, suspect = true")
    jobs = suspects + [enqueue("t.note", {"seconds": 0.1}) for _ in range(30)]

    spawn_worker(WORKER_THREADS=4)

    assert {finished(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    spans = {job.id: (ledger.entries("start", job)[0].at, ledger.entries("end", job)[0].at) for job in jobs}
    for suspect in suspects:
        began, ended = spans.pop(suspect.id)
        assert not [span for span in spans.values() if span[0] < ended and span[1] > began]


def test_a_long_suspect_does_not_look_like_a_worker_that_hangs(
    spawn_worker, enqueue, ledger, sql, tmp_path, free_port, metric
):
    suspect = enqueue("t.deaf", {"file": str(tmp_path / "go")})
    sql("UPDATE haulier.job SET crashes = 1, suspect = true")
    spawn_worker(WORKER_METRICS_PORT=free_port)
    eventually(lambda: ledger.entries("start", suspect))

    let_pass(1.2)

    eventually(lambda: metric(free_port, "worker_poll_age_seconds") < 1)
    (tmp_path / "go").touch()


def test_a_suspect_is_claimed_in_one_round_trip(config, enqueue, conn, sql, monkeypatch):
    enqueue("t.note")
    sql("UPDATE haulier.job SET crashes = 1, suspect = true")
    process = Assembly(config, {})
    process.link.lease.registered(a_worker(conn), time.monotonic())

    # The search for a job that cannot be claimed takes four.
    monkeypatch.setattr("haulier.queue.claims.claim_next", None)
    claimed = process.suspects._claim()
    process.place_database.close()

    assert claimed is not None
    assert claimed.job.kind == "t.note"


def test_a_job_claimed_in_an_earlier_name_is_given_back_unrun(config, enqueue, conn):
    worker = Assembly(config, {})
    earlier, present = (a_worker(conn) for _ in range(2))
    job = enqueue("t.nobody_knows")
    [claimed] = queueing.claim(conn, worker_id=earlier, claim_id=uuid4(), queues=())

    worker.link.lease.registered(present, time.monotonic())
    worker.supply.buffer.add(worker.work.run(held(claimed)))
    worker.calls.settle_ended()
    worker.database.close()

    job = search.get(conn, job.id)
    # At once; had it been run, its unknown kind would have put it off for a minute.
    assert (job.status, job.attempts, job.run_at <= job.updated_at) == (JobStatus.QUEUED, 0, True)


def test_a_wait_to_be_alone_is_not_over_before_what_has_ended_could_be_settled(config, enqueue, conn, proxy):
    process = Assembly(replace(config, database_url=proxy.url), {})
    job, claim_id = enqueue("t.note"), uuid4()
    [claimed] = queueing.claim(conn, worker_id=a_worker(conn), claim_id=uuid4(), queues=())
    running = held(claimed)
    process.supply.held.begin_claim(claim_id)
    process.supply.held.end_claim(claim_id, [running])
    process.supply.buffer.add(Ended(running, Outcome.complete()))
    proxy.go_away()
    with beside(lambda: process.suspects.wait_until_alone(0.5)) as answers:
        let_pass(1.5)
        proxy.come_back()

    assert answers == [True]
    assert search.get(conn, job.id).status == JobStatus.SUCCEEDED


def test_a_worker_paused_past_its_lease_changes_nothing_when_it_wakes(
    spawn_worker, start_job, enqueue, finished, ledger, tmp_path
):
    paused = spawn_worker(WORKER_THREADS=1)
    job = enqueue("t.note", {"seconds": 0.2})
    slow = start_job("t.deaf", {"file": str(tmp_path / "go")})
    finished(job)
    spawn_worker(WORKER_THREADS=1)

    os.kill(paused.pid, signal.SIGSTOP)
    eventually(lambda: len(ledger.entries("start", slow)) == 2)
    os.kill(paused.pid, signal.SIGCONT)
    told = eventually(lambda: [line for line in paused.log.splitlines() if "was declared dead" in line])
    (tmp_path / "go").touch()

    assert f"LEASE_SECONDS is 3; running: t.deaf {slow.id})" in told[0]
    slow = finished(slow)
    assert (slow.status, slow.attempt) == (JobStatus.SUCCEEDED, 2)
    eventually(lambda: "lost the claim" in paused.log)
