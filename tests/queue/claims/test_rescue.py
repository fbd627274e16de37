"""Beat, rescue, and the workers that have ended. It ..."""

from __future__ import annotations

import time
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from haulier.domain.claim import Fence
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.claims import Rescued
from haulier.queue.upkeep.purge import purge_workers
from tests import queueing
from tests.conftest import eventually
from tests.rivals import beside, connected


@pytest.fixture
def dies(let_lease_run_out, conn):
    def dies(*workers: UUID) -> Rescued:
        for worker in workers:
            let_lease_run_out(worker)
        return queueing.rescue(conn)

    return dies


def test_makes_the_jobs_of_a_worker_whose_lease_ran_out_due_at_once(running, register, dies, conn, claim):
    dead = register()
    job = running(by=dead)

    rescued = dies(dead)

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

    claims.bury(conn)
    taken = [part.jobs for part in claims.take_orphans(conn, names=known)]

    assert sorted(map(len, taken)) == [3, 3, 3]
    for job_id, name in jobs.items():
        assert [noted["worker"] for noted in search.get(conn, job_id).errors] == [known.get(dead[name])]


def test_goes_by_each_workers_own_lease_and_leaves_the_living_alone(running, register, conn, sql):
    patient, hasty = register(lease=3600), register(lease=1)
    kept, orphan = running(by=patient), running(by=hasty)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '60 s'")

    rescued = queueing.rescue(conn)

    assert rescued.jobs.keys() == {orphan.id}
    assert search.get(conn, kept.id).read() == kept
    assert (claims.beat(conn, patient) is not None, claims.beat(conn, hasty)) == (True, None)


def test_declares_nobody_dead_if_the_callers_own_beat_looks_old(register, conn, sql):
    caller, other = register(), register()
    ages = "UPDATE haulier.worker SET beat_at = now() - %s::interval"

    # As the clock jumps after the caller has beaten.
    sql(ages, "1 hour")
    assert claims.bury(conn, caller) == []

    claims.beat(conn, caller)
    assert [dead.id for dead in claims.bury(conn, caller)] == [other]


def test_a_beat_renews_the_lease_and_returns_its_age(worker, let_lease_run_out, conn):
    let_lease_run_out(worker)

    first, second = claims.beat(conn, worker), claims.beat(conn, worker)

    assert 31 <= first < 40
    assert 0 <= second < 5
    assert queueing.rescue(conn).workers == []


def test_a_beat_under_way_saves_its_worker(worker, let_lease_run_out, running, open_conn, conn):
    job, beating = running(), open_conn()
    let_lease_run_out(worker)
    beating.autocommit = False
    claims.beat(beating, worker)

    rescued = queueing.rescue(conn)
    beating.commit()

    assert (rescued.workers, rescued.jobs) == ([], {})
    assert queueing.rescue(conn).workers == []
    assert search.get(conn, job.id).read() == job


def test_a_beat_that_meets_its_own_burial_waits_and_learns_of_it(
    worker, let_lease_run_out, open_conn, database, until_somebody_waits
):
    let_lease_run_out(worker)
    burying = open_conn(autocommit=False)
    queueing.rescue(burying)

    with beside(connected(database, lambda mine: claims.beat(mine, worker))) as answers:
        until_somebody_waits()
        burying.commit()

    assert answers == [None]


def test_three_crashes_end_a_job_saying_why(running, register, dies, claim, conn):
    first = register()
    job = running(by=first, max_attempts=3)
    dies(first)

    for _ in range(2):
        next_one = register()
        assert claim(next_one, suspect=True).id == job.id
        dies(next_one)

    ended = search.get(conn, job.id)
    assert ended.status is JobStatus.FAILED_PERMANENT
    assert (ended.attempts, ended.crashes) == (3, 3)
    assert "died" in ended.last_error
    assert "3 times" in ended.last_error
    assert [noted["attempt"] for noted in ended.errors] == [1, 2, 3]


def test_bystanders_on_their_last_attempt_get_it_back_and_run_alone(running, worker, dies, conn, claim):
    jobs = [running(max_attempts=most) for most in (1, 1, 1, 3)]

    rescued = dies(worker)

    assert rescued.jobs == {job.id: JobStatus.RETRYING for job in jobs}
    backs = [search.get(conn, job.id) for job in jobs]
    # One with budget left is charged the attempt.
    assert [(back.attempts, back.crashes) for back in backs] == [(0, 1), (0, 1), (0, 1), (1, 1)]
    assert queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=10) == []


def test_a_bystander_left_over_by_an_earlier_sweep_is_not_blamed(running, worker, let_lease_run_out, locked, conn):
    taken, left = running(max_attempts=1), running(max_attempts=1)
    let_lease_run_out(worker)
    with locked(left):
        first_sweep = queueing.rescue(conn)

    second_sweep = queueing.rescue(conn)

    assert first_sweep.jobs == {taken.id: JobStatus.RETRYING}
    assert second_sweep.jobs == {left.id: JobStatus.RETRYING}


def test_company_of_other_workers_is_no_company(running, register, dies):
    first, second = register(), register()
    jobs = [running(by=first, max_attempts=1), running(by=second, max_attempts=1)]

    rescued = dies(first, second)

    assert rescued.jobs == {job.id: JobStatus.FAILED_PERMANENT for job in jobs}


def test_takes_the_jobs_of_workers_that_left_and_blames_a_suspect(enqueue, sql, claim, running, conn, register):
    suspect, last, other = enqueue(max_attempts=1), register(), register()
    sql("UPDATE haulier.job SET crashes = 1, suspect = true WHERE id = %s", suspect.id)
    claim(last, suspect=True)
    job = running(by=other)
    for worker in (last, other):
        claims.deregister(conn, worker)

    rescued = queueing.rescue(conn)

    assert rescued.workers == []
    assert rescued.jobs == {suspect.id: JobStatus.FAILED_PERMANENT, job.id: JobStatus.RETRYING}


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

    buried = claims.bury(conn)
    parts = [part.jobs for part in claims.take_orphans(conn, buried=[dead.id for dead in buried])]

    # The seventh is alone in its statement, and yet had company when its worker died.
    assert [len(part) for part in parts] == [3, 3, 1]
    assert {status for part in parts for status in part.values()} == {JobStatus.RETRYING}


def test_held_is_what_the_database_thinks_a_worker_runs_of_these_claims(running, settle, register, conn, worker):
    other = register()
    mine, done, others, not_asked = running(), running(), running(by=other), running()
    settle(done, Outcome.complete())

    ids = [job.claim for job in (mine, done, others)]

    assert [each.fence for each in claims.held(conn, worker, ids)] == [Fence.of(mine)]
    assert [each.fence for each in claims.held(conn, other, ids)] == [Fence.of(others)]
    assert claims.held(conn, uuid4(), [*ids, not_asked.claim]) == []
    assert claims.held(conn, worker, []) == []


def test_a_turn_is_one_workers_of_the_same_queues_and_goes_round(register, conn, let_lease_run_out):
    peers = [register(queues=("mail",)) for _ in range(3)]
    other, dead = register(), register(queues=("mail",))
    let_lease_run_out(dead)
    seen = set()
    # A slot so long that the whole test lies in one.
    turns = [claims.has_turn(conn, worker, slot_seconds=10_000_000.0) for worker in peers]

    def all_had_theirs() -> bool:
        turns = frozenset(peer for peer in peers if claims.has_turn(conn, peer, slot_seconds=0.2))
        seen.add(turns)
        return set().union(*seen) == set(peers)

    assert eventually(all_had_theirs)
    assert turns.count(True) == 1
    assert claims.has_turn(conn, uuid4(), slot_seconds=1.0) is False
    assert claims.has_turn(conn, other, slot_seconds=0.2)


# --- Workers that have ended


ENDED = "SELECT id, ended_how FROM haulier.worker_past ORDER BY id"


def test_are_noted_as_they_were_when_they_stopped(conn, register, sql):
    worker = register(queues=("mail", "bulk"))
    claims.introduce(conn, worker, kinds=["mail"])
    claims.say_stopping(conn, worker)
    columns = "id, host, pid, threads, queues, version, started_at, beat_at"
    before = sql(f"SELECT {columns}, beat_at + lease FROM haulier.worker")

    claims.deregister(conn, worker)

    assert sql(f"SELECT {columns}, lease_ends FROM haulier.worker_past") == before
    assert sql("SELECT ended_how, ended_at BETWEEN beat_at AND now() FROM haulier.worker_past") == [("stopped", True)]


def test_differ_by_whether_their_lease_had_run_out(conn, register, let_lease_run_out, sql):
    stopped, dead, gone, alive = (register() for _ in range(4))
    for worker in (dead, gone):
        let_lease_run_out(worker)

    # By hand, with no function of Haulier's.
    sql("DELETE FROM haulier.worker WHERE id = %s RETURNING 1", gone)
    claims.deregister(conn, stopped)
    queueing.rescue(conn)

    assert sql(ENDED) == sorted([(stopped, "stopped"), (dead, "buried"), (gone, "buried")])
    assert sql("SELECT id FROM haulier.worker") == [(alive,)]


def test_do_not_keep_a_rescue_waiting_while_the_table_is_locked(
    conn, register, let_lease_run_out, holding, running, sql
):
    for _ in range(60):
        dead = register()
        running(by=dead)
        let_lease_run_out(dead)

    with holding("LOCK TABLE haulier.worker_past IN ACCESS EXCLUSIVE MODE"):
        began = time.monotonic()
        rescued = queueing.rescue(conn)
        took = time.monotonic() - began

    assert (len(rescued.workers), len(rescued.jobs), rescued.refused) == (60, 60, [])
    # One wait of 0.1 s for all of them, and not one for each.
    assert took < 5
    assert sql(ENDED) == []


SPOILED = (
    "ALTER TABLE haulier.worker_past ADD COLUMN mine text NOT NULL",
    "ALTER TABLE haulier.worker_past RENAME TO elsewhere",
    "ALTER TABLE haulier.worker_past ADD CHECK (pid < 0)",
)


def test_end_even_if_the_database_does_not_note_it_and_its_log_says_so(conn, register, let_lease_run_out, sql):
    for spoil in SPOILED:
        stopped, dead = register(), register()
        let_lease_run_out(dead)
        conn.notices.clear()
        sql(f"BEGIN; {spoil}")

        claims.deregister(conn, stopped)
        buried = claims.bury(conn)
        left = sql("SELECT count(*) FROM haulier.worker")
        sql("ROLLBACK; DELETE FROM haulier.worker; DELETE FROM haulier.worker_past")

        assert [each.id for each in buried] == [dead]
        assert left == [(0,)]
        assert sum("cannot note which workers have ended" in notice for notice in conn.notices) == 2


def test_are_forgotten_with_the_history(conn, register, sql):
    for age in (29, 31, 90):
        worker = register()
        claims.deregister(conn, worker)
        sql(
            "UPDATE haulier.worker_past SET ended_at = now() - %s * interval '1 day' WHERE id = %s RETURNING 1",
            age,
            worker,
        )

    assert purge_workers(conn, retention_days=30) == 2
    assert purge_workers(conn, retention_days=30) == 0
    assert sql("SELECT now() - ended_at < interval '30 days' FROM haulier.worker_past") == [(True,)]
