"""Beat and rescue: it ..."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from haulier.domain.claim import Fence
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import claims as worker_claims
from haulier.queue import jobs as job_acts
from haulier.queue import search
from tests import queueing
from tests.conftest import eventually
from tests.rivals import beside, connected


def test_makes_the_jobs_of_a_worker_whose_lease_ran_out_due_at_once(running, register, let_lease_run_out, conn, claim):
    dead = register()
    job = running(by=dead)
    let_lease_run_out(dead)

    rescued = queueing.rescue(conn)

    back = search.get(conn, job.id)
    assert [str(dead) for dead in rescued.workers] == ["dock:7"]
    assert rescued.jobs == {job.id: JobStatus.RETRYING}
    assert (back.status, back.worker_id, back.attempts, back.crashes) == (JobStatus.RETRYING, None, 1, 1)
    assert back.run_at == back.updated_at
    assert "worker process running this job died" in back.last_error
    [noted] = back.errors
    assert (noted["error"], noted["worker"]) == (back.last_error, "dock:7")
    assert datetime.fromisoformat(noted["started_at"]) == job.started_at
    assert claim(suspect=True).attempts == 2


def test_notes_each_crash_with_the_name_of_the_dead_worker_if_known(running, register, let_lease_run_out, conn, sql):
    dead = {f"dock:{pid}": register() for pid in (7, 8, 9)}
    jobs = {running(by=worker).id: name for _ in range(3) for name, worker in dead.items()}
    for name, worker in dead.items():
        sql("UPDATE haulier.worker SET pid = %s WHERE id = %s", name.partition(":")[2], worker)
        let_lease_run_out(worker)
    # The rescuer that declared the third one dead has died as well.
    known = {worker: name for name, worker in dead.items() if name != "dock:9"}

    worker_claims.bury(conn)
    taken = [part.jobs for part in worker_claims.take_orphans(conn, names=known)]

    assert sorted(map(len, taken)) == [3, 3, 3]
    for job_id, name in jobs.items():
        assert [noted["worker"] for noted in search.get(conn, job_id).errors] == [known.get(dead[name])]


def test_leaves_the_jobs_of_the_living_alone(running, register, let_lease_run_out, conn, worker):
    dead = register()
    mine, orphan = running(), running(by=dead)
    let_lease_run_out(dead)

    rescued = queueing.rescue(conn)

    assert rescued.jobs.keys() == {orphan.id}
    assert search.get(conn, mine.id).read() == mine
    assert worker_claims.beat(conn, worker) is not None


def test_goes_by_each_workers_own_lease(register, conn, sql):
    patient, hasty = register(lease=3600), register(lease=1)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '60 s'")

    queueing.rescue(conn)

    assert worker_claims.beat(conn, patient) is not None
    assert worker_claims.beat(conn, hasty) is None


def test_a_beat_renews_the_lease_and_returns_its_age(worker, let_lease_run_out, conn):
    let_lease_run_out(worker)

    first, second = worker_claims.beat(conn, worker), worker_claims.beat(conn, worker)

    assert 31 <= first < 40
    assert 0 <= second < 5
    assert queueing.rescue(conn).workers == []


def test_a_beat_under_way_saves_its_worker(worker, let_lease_run_out, running, open_conn, conn):
    job, beating = running(), open_conn()
    let_lease_run_out(worker)
    beating.autocommit = False
    worker_claims.beat(beating, worker)

    rescued = queueing.rescue(conn)
    beating.commit()

    assert (rescued.workers, rescued.jobs) == ([], {})
    assert queueing.rescue(conn).workers == []
    assert search.get(conn, job.id).read() == job


def test_a_beat_that_meets_its_own_burial_waits_and_learns_of_it(
    worker, let_lease_run_out, open_conn, database, until_somebody_waits
):
    let_lease_run_out(worker)
    burying = open_conn()
    burying.autocommit = False
    queueing.rescue(burying)

    with beside(connected(database, lambda mine: worker_claims.beat(mine, worker))) as answers:
        until_somebody_waits()
        burying.commit()

    assert answers == [None]


def test_the_late_settle_of_the_dead_changes_nothing(running, settle, worker, let_lease_run_out, conn):
    job = running()
    let_lease_run_out(worker)
    queueing.rescue(conn)
    before = search.get(conn, job.id)

    late = settle(job, Outcome.complete("too late"))

    assert late is None
    assert search.get(conn, job.id) == before
    assert worker_claims.settled_earlier(conn, [Fence.of(job)]) == {Fence.of(job): JobStatus.RETRYING}


def test_three_crashes_end_a_job_saying_why(running, register, let_lease_run_out, claim, conn):
    first = register()
    job = running(by=first, max_attempts=3)
    let_lease_run_out(first)
    queueing.rescue(conn)

    for _ in range(2):
        next_one = register()
        assert claim(next_one, suspect=True).id == job.id
        let_lease_run_out(next_one)
        queueing.rescue(conn)

    ended = search.get(conn, job.id)
    assert ended.status is JobStatus.FAILED_PERMANENT
    assert (ended.attempts, ended.crashes) == (3, 3)
    assert "died" in ended.last_error
    assert "3 times" in ended.last_error
    assert [noted["attempt"] for noted in ended.errors] == [1, 2, 3]


def test_a_job_that_crashed_alone_on_its_last_attempt_has_failed(running, worker, let_lease_run_out, conn):
    job = running(max_attempts=1)
    let_lease_run_out(worker)

    rescued = queueing.rescue(conn)

    assert rescued.jobs == {job.id: JobStatus.FAILED_PERMANENT}


def test_bystanders_on_their_last_attempt_get_it_back_and_run_alone(running, worker, let_lease_run_out, conn, claim):
    jobs = [running(max_attempts=1) for _ in range(3)]
    let_lease_run_out(worker)

    rescued = queueing.rescue(conn)

    assert rescued.jobs == {job.id: JobStatus.RETRYING for job in jobs}
    for job in jobs:
        back = search.get(conn, job.id)
        assert (back.attempts, back.crashes) == (0, 1)
    assert queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=10) == []


def test_a_bystander_with_budget_left_is_charged_the_attempt(running, worker, let_lease_run_out, conn):
    jobs = [running(max_attempts=3) for _ in range(2)]
    let_lease_run_out(worker)

    queueing.rescue(conn)

    assert [search.get(conn, job.id).attempts for job in jobs] == [1, 1]


def test_a_bystander_that_crashes_again_when_alone_has_failed(running, register, let_lease_run_out, claim, conn):
    first, second = register(), register()
    culprit, bystander = running(by=first, max_attempts=1), running(by=first, max_attempts=1)
    let_lease_run_out(first)
    queueing.rescue(conn)
    sole = claim(second, suspect=True)
    let_lease_run_out(second)

    rescued = queueing.rescue(conn)

    assert sole.id in (culprit.id, bystander.id)
    assert rescued.jobs == {sole.id: JobStatus.FAILED_PERMANENT}


def test_a_bystander_left_over_by_an_earlier_sweep_is_not_blamed(running, worker, let_lease_run_out, open_conn, conn):
    taken, left = running(max_attempts=1), running(max_attempts=1)
    let_lease_run_out(worker)
    rival = open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (left.id,))
    first_sweep = queueing.rescue(conn)
    rival.rollback()

    second_sweep = queueing.rescue(conn)

    assert first_sweep.jobs == {taken.id: JobStatus.RETRYING}
    assert second_sweep.jobs == {left.id: JobStatus.RETRYING}


def test_company_of_other_workers_is_no_company(running, register, let_lease_run_out, conn):
    first, second = register(), register()
    jobs = [running(by=first, max_attempts=1), running(by=second, max_attempts=1)]
    let_lease_run_out(first)
    let_lease_run_out(second)

    rescued = queueing.rescue(conn)

    assert rescued.jobs == {job.id: JobStatus.FAILED_PERMANENT for job in jobs}


def test_a_job_whose_cancel_was_requested_ends_cancelled(running, worker, let_lease_run_out, conn):
    job = running()
    job_acts.cancel(conn, job.id)
    let_lease_run_out(worker)

    rescued = queueing.rescue(conn)

    assert rescued.jobs == {job.id: JobStatus.CANCELLED}
    assert search.get(conn, job.id).status is JobStatus.CANCELLED


def test_takes_the_jobs_of_a_worker_that_left_without_settling_them(running, worker, conn):
    job = running()
    worker_claims.deregister(conn, worker)

    rescued = queueing.rescue(conn)

    assert rescued.workers == []
    assert rescued.jobs == {job.id: JobStatus.RETRYING}


def test_a_suspect_ran_alone_and_is_to_blame_even_after_its_workers_burial(enqueue, sql, claim, worker, conn, register):
    suspect = enqueue(max_attempts=1)
    sql("UPDATE haulier.job SET crashes = 1 WHERE id = %s", suspect.id)
    last = register()
    claim(last, suspect=True)
    worker_claims.deregister(conn, last)

    rescued = queueing.rescue(conn)

    assert rescued.jobs == {suspect.id: JobStatus.FAILED_PERMANENT}


def test_concurrent_rescuers_take_each_job_once(running, register, let_lease_run_out, at_once, sql):
    jobs = []
    for _ in range(10):
        dead = register()
        jobs += [running(by=dead) for _ in range(4)]
        let_lease_run_out(dead)

    rescued = at_once(6, lambda number, mine: queueing.rescue(mine))

    taken = [job_id for each in rescued for job_id in each.jobs]
    assert sorted(taken) == sorted(job.id for job in jobs)
    assert len([name for each in rescued for name in each.workers]) == 10
    assert sql("SELECT DISTINCT crashes, attempts, status FROM haulier.job") == [(1, 1, "retrying")]


def test_takes_a_bounded_number_per_statement_and_blames_no_left_over(
    conn, worker, let_lease_run_out, monkeypatch, enqueue
):
    monkeypatch.setattr("haulier.queue.claims.rescue.RESCUED_AT_ONCE", 3)
    for _ in range(7):
        enqueue(max_attempts=1)
    queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=7)
    let_lease_run_out(worker)

    buried = worker_claims.bury(conn)
    parts = [part.jobs for part in worker_claims.take_orphans(conn, buried=[dead.id for dead in buried])]

    # The seventh is alone in its statement, and yet had company when its worker died.
    assert [len(part) for part in parts] == [3, 3, 1]
    assert {status for part in parts for status in part.values()} == {JobStatus.RETRYING}


def test_held_is_what_the_database_thinks_a_worker_runs_of_these_claims(running, settle, register, conn, worker):
    other = register()
    mine, done, others, not_asked = running(), running(), running(by=other), running()
    settle(done, Outcome.complete())

    claims = [job.claim for job in (mine, done, others)]

    assert [each.fence for each in worker_claims.held(conn, worker, claims)] == [Fence.of(mine)]
    assert [each.fence for each in worker_claims.held(conn, other, claims)] == [Fence.of(others)]
    assert worker_claims.held(conn, uuid4(), [*claims, not_asked.claim]) == []
    assert worker_claims.held(conn, worker, []) == []


def test_one_of_the_live_workers_of_the_same_queues_has_the_turn(register, let_lease_run_out, conn):
    every, mail, dead = [register() for _ in range(5)], register(queues=("mail",)), register()
    let_lease_run_out(dead)

    # A slot so long that the whole test lies in one.
    turns = [worker_claims.has_turn(conn, worker, slot_seconds=10_000_000.0) for worker in every]

    assert turns.count(True) == 1
    assert worker_claims.has_turn(conn, mail, slot_seconds=10_000_000.0)
    assert worker_claims.has_turn(conn, uuid4(), slot_seconds=1.0) is False


def test_a_turn_is_one_workers_of_the_same_queues_and_goes_round(register, conn, let_lease_run_out):
    peers = [register(queues=("mail",)) for _ in range(3)]
    other, dead = register(), register(queues=("mail",))
    let_lease_run_out(dead)
    seen = set()

    def all_had_theirs() -> bool:
        turns = frozenset(peer for peer in peers if worker_claims.has_turn(conn, peer, slot_seconds=0.2))
        seen.add(turns)
        return set().union(*seen) == set(peers)

    assert eventually(all_had_theirs)
    assert worker_claims.has_turn(conn, other, slot_seconds=0.2)
