"""Why a job waits, what runs next, and that explain cannot lie. It ..."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from haulier.domain.errors import JobNotFound
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.domain.waiting import STUCK_SECONDS, Code, Reason
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.queues.pauses import pause, resume
from haulier.queue.stories.explain import MOST_AHEAD, explain
from haulier.queue.stories.upcoming import upcoming
from tests import queueing
from tests.queue import plans
from tests.queue.stories.yard import Yard

# A case for each code


def test_not_due_says_until_when_and_whether_it_waits_between_two_attempts(yard):
    party, job = yard.worker(), yard.job()
    late = yard.job(delay=timedelta(hours=1))
    yard.claim(party)
    yard.settle(party.runs, Outcome.fail("no luck", delay=30.0))

    assert yard.reasons(late) == [Reason(Code.NOT_DUE, "it is not due yet", until=late.run_at)]
    assert yard.says(job) == [(Code.NOT_DUE, "it is not due yet: it waits for its next attempt")]


def test_queue_paused_says_since_when_and_until_when(yard, sql):
    yard.worker()
    job = yard.job()
    [[since, until]] = sql("SELECT now() - interval '1 h', now() + interval '1 h'")
    pause(yard.conn, "default")
    sql("UPDATE haulier.pause SET since = %s", since)
    [without_end] = yard.reasons(job)
    pause(yard.conn, "default", until=until)
    [for_an_hour] = yard.reasons(job)
    soon, late = yard.job(delay=timedelta(minutes=30)), yard.job(delay=timedelta(hours=2))
    of_later_ones = yard.codes(soon), yard.codes(late)
    started = yard.starts(job)
    sql("UPDATE haulier.pause SET until = now() - interval '1 s'")

    message = "an operator has paused the queue default: its jobs do not start"
    code, link = Code.QUEUE_PAUSED, "/queues/default"
    assert without_end == Reason(code, f"{message} until it is resumed", since=since, link=link)
    assert for_an_hour == Reason(code, f"{message} until then", since=since, until=until, link=link)
    # One that is due after the pause does not wait for its end.
    assert of_later_ones == ([Code.NOT_DUE, Code.QUEUE_PAUSED], [Code.NOT_DUE])
    assert not started
    assert yard.codes(job) == []
    assert yard.starts(job)


def test_jobs_of_a_paused_queue_are_neither_ahead_nor_before_a_job_that_runs_alone(yard):
    party = yard.worker(threads=1)
    for _ in range(3):
        yard.job(queue="bulk", priority=1)
    job = yard.job()
    before = yard.codes(job)

    pause(yard.conn, "bulk")

    assert (before, yard.codes(job)) == ([Code.BEHIND], [])
    assert yard.starts(job)
    yard.end(party)
    alone = yard.job(crashed=True)
    assert yard.codes(alone) == []
    resume(yard.conn, "bulk")
    # The worker runs nothing, but has others to claim first.
    assert yard.codes(alone) == [Code.ALONE]
    assert not yard.starts(alone)


def test_no_worker_for_queue_says_why_none_takes_it(yard, sql):
    job = yard.job(queue="mail")
    without = yard.says(job)
    yard.worker()
    sql("UPDATE haulier.worker SET beat_at = now() - lease - interval '1 s'")
    with_a_dead_one = yard.says(job)
    yard.worker("bulk")
    with_another = yard.says(job)
    party = yard.worker()

    def so(said: str) -> list[tuple[Code, str]]:
        return [(Code.NO_WORKER_FOR_QUEUE, said)]

    assert without == with_a_dead_one == so("no worker is running")
    assert with_another == so("no live worker serves the queue mail")
    for how in ("quiet = true", "quiet = false, stopping = true"):
        sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", party.id)
        assert yard.says(job) == so("all workers that serve the queue mail are quiet or stopping")
        assert not yard.starts(job)


def test_no_worker_knows_kind_if_none_that_serves_its_queue_does(yard):
    yard.worker("mail", kinds=("mail",))
    yard.worker("bulk", kinds=("hook",))

    job = yard.job("hook", queue="mail")

    unknown = (Code.NO_WORKER_KNOWS_KIND, "no worker that serves its queue knows the kind hook")
    assert yard.says(job) == [unknown]
    assert not yard.starts(job)
    not_due = "it is not due yet: a worker that does not know the kind hook gave it back"
    assert yard.says(job) == [(Code.NOT_DUE, not_due), unknown]


@pytest.mark.direct("names a process of the server")
def test_locked_names_who_holds_the_row(yard, locked):
    yard.worker()
    job = yard.job()

    with locked(job) as pid:
        [reason] = yard.reasons(job)
        started = yard.starts(job)

    assert (reason.code, reason.message.endswith(f": process {pid} of the server")) == (Code.LOCKED, True)
    assert not started
    assert yard.codes(job) == []
    # Its row still has the number of that transaction, which is over.
    with locked(yard.job()):
        assert yard.codes(job) == []


def test_behind_says_how_many_come_before_if_every_thread_is_busy(yard):
    party = yard.worker(threads=2)
    for _ in range(2):
        yard.job()
    yard.claim(party)
    for _ in range(3):
        yard.job(priority=1)
    yard.job(priority=-1)
    yard.job(queue="bulk", delay=timedelta(hours=1))

    message = "all threads of the workers that serve its queue are busy; 3 due jobs may start first"
    assert yard.says(yard.job()) == [(Code.BEHIND, message)]


def test_behind_says_how_many_of_the_queue_end_in_a_minute(yard, sql):
    yard.claim(yard.worker(threads=1)) or yard.job()
    yard.claim(yard.parties[0])
    sql(
        "INSERT INTO haulier.counting (through, folded, recounted) VALUES (now(), now(), now());"
        " INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed, cancelled)"
        " VALUES (10, now() - interval '30 s', 'default', 'mail', 5, 1, 1), (10, now(), 'bulk', 'mail', 1, 0, 0),"
        " (10, now() - interval '2 minutes', 'default', 'mail', 1, 1, 1)"
    )

    [reason] = yard.reasons(yard.job())

    assert reason.message.endswith("; 0 due jobs may start first; 7 jobs of its queue ended in the last minute")


def test_behind_counts_the_queues_of_its_workers_or_only_its_own(yard):
    yard.worker("mail", "bulk", threads=1)
    for queue in ("mail", "bulk", "bulk", "other"):
        yard.job(queue=queue, priority=5)

    explained = explain(yard.conn, yard.job(queue="mail").id, timeouts={}).waiting

    assert [reason.message for reason in explained.reasons()] == ["3 due jobs may start first"]
    [limited] = explained.reasons(whole=False)
    assert limited.message == "1 due job of its queue may start first"


def test_behind_counts_no_further_than_it_says(yard, sql):
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, %s)", MOST_AHEAD + 500)
    yard.worker(threads=1)

    [reason] = yard.reasons(yard.job())

    assert reason.message == f"more than {MOST_AHEAD - 1:,} due jobs may start first"


def test_unknown_if_a_job_is_long_due_and_nothing_is_known_to_keep_it(yard, sql):
    yard.worker()
    job = yard.job()
    sql("UPDATE haulier.job SET run_at = now() - %s * interval '1 s'", STUCK_SECONDS + 1)
    sql("UPDATE haulier.job SET updated_at = run_at")
    without = yard.reasons(job)
    sql("UPDATE haulier.worker SET scans_fail = true")

    [reason] = yard.reasons(job)

    assert [each.code for each in without] == [reason.code] == [Code.UNKNOWN]
    assert "1 worker cannot look for new jobs" in reason.message
    assert "cannot look" not in without[0].message


def test_unknown_and_not_behind_if_threads_are_free_and_nothing_moves(yard, sql):
    yard.worker(threads=2)
    jobs = [yard.job() for _ in range(3)]
    sql("UPDATE haulier.job SET run_at = run_at - interval '1 minute', updated_at = now() - interval '1 minute'")

    assert yard.codes(jobs[-1]) == [Code.UNKNOWN]


# What does not wait


def test_says_who_runs_a_job_and_when_it_times_out_at_the_earliest(yard):
    party, job = yard.worker(), yard.job()
    yard.claim(party)

    explained = explain(yard.conn, job.id, timeouts={"mail": 30})

    assert (explained.status, explained.waiting) == (JobStatus.RUNNING, None)
    run = explained.run
    assert (run.worker_id, run.worker) == (party.id, "dock:7")
    assert run.deadline - run.since == timedelta(seconds=30)
    assert explain(yard.conn, job.id, timeouts={}).run.deadline is None
    claims.deregister(yard.conn, party.id)
    run = explain(yard.conn, job.id, timeouts={}).run
    assert (run.worker_id, run.worker, run.lease_ends) == (party.id, None, None)


def test_gives_nothing_for_a_job_that_has_ended_and_refuses_one_that_is_not_there(yard):
    job = yard.job()
    job_acts.cancel(yard.conn, job.id)

    explained = explain(yard.conn, job.id, timeouts={})

    assert (explained.status, explained.waiting, explained.run) == (JobStatus.CANCELLED, None, None)
    with pytest.raises(JobNotFound):
        explain(yard.conn, uuid4(), timeouts={})


# --- At random


SEEDS = range(40)
EMPTY = "; ".join(f"DELETE FROM haulier.{table}" for table in ("job", "finished_job", "worker", "pause", "audit"))


def test_a_job_without_reasons_starts_and_so_does_one_whose_reasons_are_removed(conn, sql, locked):
    lies = {}
    for seed in SEEDS:
        try:
            check(Yard(conn), random.Random(seed), locked)
        except AssertionError as error:
            lies[seed] = str(error)
        sql(EMPTY)

    assert lies == {}


def check(yard: Yard, chance: random.Random, locked: Callable[[Job], Any]) -> None:
    job = set_up(yard, chance)
    with ExitStack() as holding:
        if chance.random() < 0.2:
            holding.enter_context(locked(job))
        codes = yard.codes(job)
        if set(codes) - {Code.BEHIND}:
            assert not yard.starts(job), codes
            codes = yard.codes(job)
    remove(yard, job, codes, chance)
    left = yard.codes(job)
    # Others have to end before it is alone or has its turn.
    assert set(left) <= {Code.BEHIND, *({Code.ALONE} & set(codes))}, (codes, left)
    if not left and not yard.starts(job):
        # A worker that serves the queue and does not know the kind was quicker.
        assert "gave it back" in yard.reasons(job)[0].message, codes
    assert comes_to_run(yard, job), (codes, left)


def comes_to_run(yard: Yard, job: Job) -> bool:
    """Let all that runs end, and all that waits be claimed, until the job is."""
    for _ in range(60):
        yard.sql("UPDATE haulier.job SET run_at = now() WHERE id = %s AND worker_id IS NULL", job.id)
        if any(job.id == each.id for party in yard.parties for each in party.runs) or yard.starts(job):
            return True
        for party in yard.parties:
            yard.end(party)
    return False


def set_up(yard: Yard, chance: random.Random) -> Job:
    """Make workers and jobs of all sorts, and return one job more."""
    queues, kinds = ["mail", "bulk", "slow"], ["mail", "hook"]
    for _ in range(chance.randint(0, 3)):
        known = None if chance.random() < 0.2 else tuple(chance.sample(kinds, chance.randint(1, 2)))
        party = yard.worker(*chance.sample(queues, chance.randint(0, 2)), threads=chance.randint(1, 3), kinds=known)
        if chance.random() < 0.2:
            how = chance.choice(["quiet = true", "stopping = true", "beat_at = now() - lease - interval '1 s'"])
            yard.sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", party.id)

    def job() -> Job:
        return yard.job(
            chance.choice(kinds),
            crashed=chance.random() < 0.2,
            queue=chance.choice(queues),
            priority=chance.choice([0, 0, 1]),
            delay=timedelta(hours=1) if chance.random() < 0.2 else None,
            max_attempts=chance.choice([1, 3]),
        )

    for _ in range(chance.randint(0, 8)):
        job()
    for queue in queues:
        if chance.random() < 0.2:
            [(until,)] = yard.sql("SELECT now() + interval '1 h' * %s", chance.choice([None, 0.5, 2]))
            pause(yard.conn, queue, until=until)
    for party in yard.parties:
        if chance.random() < 0.5:
            yard.claim(party)
    for _ in range(chance.randint(0, 4)):
        job()
    return job()


def remove(yard: Yard, job: Job, codes: list[Code], chance: random.Random) -> None:
    """Take away what the codes name, and nothing else."""
    if Code.NOT_DUE in codes:
        # The time until then passes for pauses as well.
        passing = "UPDATE haulier.pause SET until = until - (SELECT run_at - now() FROM haulier.job WHERE id = %s)"
        yard.sql(passing, job.id)
        yard.sql("UPDATE haulier.job SET run_at = now() WHERE id = %s", job.id)
    if Code.QUEUE_PAUSED in codes:
        resume(yard.conn, job.queue)
    if Code.NO_WORKER_FOR_QUEUE in codes:
        # It knows what the live ones know, unless that is a reason of its own.
        [(kinds,)] = yard.sql(
            "SELECT min(kinds) FROM haulier.worker WHERE beat_at > now() - lease AND NOT quiet AND NOT stopping"
            " AND %s = ANY(kinds)",
            job.kind,
        )
        yard.worker(job.queue, kinds=[job.kind] if Code.NO_WORKER_KNOWS_KIND in codes else kinds)
    elif Code.NO_WORKER_KNOWS_KIND in codes:
        yard.sql("UPDATE haulier.worker SET kinds = array_append(kinds, %s)", job.kind)


# --- What runs next


@pytest.fixture
def put(enqueue, sql):
    """Give a function that returns the id of a new job, which is due in some seconds."""

    def put(priority: int = 0, *, due_in: float = -1.0, queue: str = "mail") -> UUID:
        job = enqueue(queue=queue, priority=priority)
        sql("UPDATE haulier.job SET run_at = now() + %s * interval '1 s' WHERE id = %s", due_in, job.id)
        return job.id

    return put


def test_has_due_jobs_by_priority_and_the_others_as_they_become_due(put, conn):
    later, low, lower = put(9, due_in=60), put(due_in=-5), put(due_in=-4)
    soon, high = put(due_in=30), put(5, due_in=-1)
    put(9, queue="other")

    found = upcoming(conn, "mail")

    assert [job.id for job in found.jobs] == [high, low, lower, soon, later]
    assert [(lane.priority, lane.id) for lane in found.lanes] == [(9, later), (5, high), (0, low)]


def test_ends_at_the_limit_and_keeps_the_first_of_each_lane(put, conn):
    jobs = [put(due_in=-10 + number) for number in range(5)]
    last = put(-1, due_in=-20)

    found = upcoming(conn, "mail", limit=3)

    assert [job.id for job in found.jobs] == jobs[:3]
    assert [lane.id for lane in found.lanes] == [jobs[0], last]


def test_leaves_out_what_runs_alone_and_what_runs(put, conn, sql):
    crashed, ended = put(), put()
    sql("UPDATE haulier.job SET crashes = 1, suspect = true WHERE id = %s", crashed)
    job_acts.cancel(conn, ended)

    assert upcoming(conn, "mail") == upcoming(conn, "nowhere")
    assert upcoming(conn, "mail").jobs == []


def test_walks_the_index_of_claims_however_many_wait(conn, sql):
    queueing.enqueue(conn, [NewJob("mail", {}, queue="mail", priority=number % 3) for number in range(900)])
    sql("ANALYZE haulier.job")
    sent = {"queue": "mail", "suspect": False, "limit": 20, "most": 50, "look": 1.0}

    _, nodes = plans.explain(conn, "next_jobs", sent)

    # Of the table of jobs nothing is read but by this index.
    assert {node.get("Index Name", "") for node in nodes if node.get("Relation Name") == "job"} == {"job_claim"}
    assert len(upcoming(conn, "mail", limit=20).jobs) == 20
