"""Why a job waits, from what claims go by. `explain` ..."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.errors import JobNotFound
from haulier.domain.job import Job, JobStatus
from haulier.domain.outcome import Outcome
from haulier.domain.waiting import STUCK_SECONDS, Code, Reason
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.queues.pauses import pause, resume
from haulier.queue.stories.explain import MOST_AHEAD, explain
from tests.conftest import Sql
from tests.queue.stories.yard import Yard

# A case for each code


def test_not_due_says_until_when(yard: Yard) -> None:
    yard.worker()

    job = yard.job(delay=timedelta(hours=1))

    assert yard.reasons(job) == [Reason(Code.NOT_DUE, "its time has not come", until=job.run_at)]


def test_not_due_says_that_a_job_waits_between_two_attempts(yard: Yard) -> None:
    party, job = yard.worker(), yard.job()
    yard.claim(party)
    yard.settle(party.runs, Outcome.fail("no luck", delay=30.0))

    [reason] = yard.reasons(job)

    assert (reason.code, reason.message) == (Code.NOT_DUE, "its time has not come: it waits between two attempts")


def test_queue_paused_says_since_when_and_until_when(yard: Yard, sql: Sql) -> None:
    yard.worker()
    job = yard.job()
    [[since, until]] = sql("SELECT now() - interval '1 h', now() + interval '1 h'")
    pause(yard.conn, "default")
    sql("UPDATE haulier.pause SET since = %s", since)
    [without_end] = yard.reasons(job)
    pause(yard.conn, "default", until=until)
    [for_an_hour] = yard.reasons(job)
    started = yard.starts(job)
    sql("UPDATE haulier.pause SET until = now() - interval '1 s'")

    message = "an operator has paused the queue default: no job of it starts"
    code, link = Code.QUEUE_PAUSED, "/queues/default"
    assert without_end == Reason(code, f"{message} until it is resumed", since=since, link=link)
    assert for_an_hour == Reason(code, f"{message} until then", since=since, until=until, link=link)
    assert not started
    assert yard.codes(job) == []
    assert yard.starts(job)


def test_queue_paused_is_no_reason_for_a_job_that_is_due_after_the_pause(yard: Yard, sql: Sql) -> None:
    yard.worker()
    soon, late = yard.job(delay=timedelta(minutes=30)), yard.job(delay=timedelta(hours=2))
    [[until]] = sql("SELECT now() + interval '1 h'")

    pause(yard.conn, "default", until=until)

    assert (yard.codes(soon), yard.codes(late)) == ([Code.NOT_DUE, Code.QUEUE_PAUSED], [Code.NOT_DUE])


def test_jobs_of_a_paused_queue_are_neither_ahead_nor_before_a_job_that_runs_alone(yard: Yard) -> None:
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


def test_no_worker_for_queue_if_none_lives(yard: Yard, sql: Sql) -> None:
    job = yard.job()
    without = yard.reasons(job)
    yard.worker()
    sql("UPDATE haulier.worker SET beat_at = now() - lease - interval '1 s'")

    assert [reason.message for reason in without] == [reason.message for reason in yard.reasons(job)]
    assert [(reason.code, reason.message) for reason in without] == [(Code.NO_WORKER_FOR_QUEUE, "no worker lives")]


def test_no_worker_for_queue_if_no_live_one_serves_it(yard: Yard) -> None:
    yard.worker("bulk")

    [reason] = yard.reasons(yard.job(queue="mail"))

    assert (reason.code, reason.message) == (Code.NO_WORKER_FOR_QUEUE, "no live worker serves the queue mail")


def test_no_worker_for_queue_if_each_is_quiet_or_stops(yard: Yard, sql: Sql) -> None:
    job = yard.job()
    yard.worker()
    for how in ("quiet = true", "quiet = false, stopping = true"):
        sql(f"UPDATE haulier.worker SET {how}")
        [reason] = yard.reasons(job)
        assert reason.code is Code.NO_WORKER_FOR_QUEUE
        assert reason.message == "each worker that serves the queue default is quiet or stops"
        assert not yard.starts(job)


def test_no_worker_knows_kind_if_none_that_serves_its_queue_does(yard: Yard) -> None:
    yard.worker("mail", kinds=("mail",))
    yard.worker("bulk", kinds=("hook",))

    job = yard.job("hook", queue="mail")

    assert [reason.message for reason in yard.reasons(job)] == ["no worker that serves its queue knows the kind hook"]
    assert not yard.starts(job)
    given_back = yard.reasons(job)
    assert [reason.code for reason in given_back] == [Code.NOT_DUE, Code.NO_WORKER_KNOWS_KIND]
    assert given_back[0].message == "its time has not come: a worker that does not know the kind hook gave it back"


def test_names_both_if_no_worker_serves_its_queue_or_knows_its_kind(yard: Yard) -> None:
    yard.worker("bulk", kinds=("mail",))
    job = yard.job("hook", queue="mail")

    assert yard.codes(job) == [Code.NO_WORKER_FOR_QUEUE, Code.NO_WORKER_KNOWS_KIND]
    # It may know every kind: it has stored none yet.
    yard.worker(kinds=None)
    assert yard.codes(job) == []


@pytest.mark.direct("names a process of the server")
def test_locked_names_who_holds_the_row(yard: Yard, locked: Callable[[Job], Any]) -> None:
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


def test_alone_if_a_job_has_crashed_and_every_worker_runs_something(yard: Yard) -> None:
    party = yard.worker(threads=2)
    yard.job()
    yard.claim(party)

    job = yard.job(crashed=True)

    assert yard.codes(job) == [Code.ALONE]
    assert not yard.starts(job)
    yard.end(party)
    assert yard.codes(job) == []
    assert yard.starts(job)


def test_behind_says_how_many_come_before_if_every_thread_is_busy(yard: Yard) -> None:
    party = yard.worker(threads=2)
    for _ in range(2):
        yard.job()
    yard.claim(party)
    for _ in range(3):
        yard.job(priority=1)
    yard.job(priority=-1)
    yard.job(queue="bulk", delay=timedelta(hours=1))

    [reason] = yard.reasons(yard.job())

    assert reason.code is Code.BEHIND
    assert reason.message == "every thread of the workers that serve its queue is busy; 3 due jobs may start before it"


def test_behind_says_how_many_of_the_queue_end_in_a_minute(yard: Yard, sql: Sql) -> None:
    yard.claim(yard.worker(threads=1)) or yard.job()
    yard.claim(yard.parties[0])
    sql(
        "INSERT INTO haulier.counting (through, folded, recounted) VALUES (now(), now(), now());"
        " INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed, cancelled)"
        " VALUES (10, now() - interval '30 s', 'default', 'mail', 5, 1, 1), (10, now(), 'bulk', 'mail', 1, 0, 0),"
        " (10, now() - interval '2 minutes', 'default', 'mail', 1, 1, 1)"
    )

    [reason] = yard.reasons(yard.job())

    assert reason.message.endswith("; 0 due jobs may start before it; 7 of its queue ended in the last minute")


def test_behind_counts_the_queues_of_its_workers_or_only_its_own(yard: Yard) -> None:
    yard.worker("mail", "bulk", threads=1)
    for queue in ("mail", "bulk", "bulk", "other"):
        yard.job(queue=queue, priority=5)

    explained = explain(yard.conn, yard.job(queue="mail").id, timeouts={}).waiting

    assert [reason.message for reason in explained.reasons()] == ["3 due jobs may start before it"]
    [limited] = explained.reasons(whole=False)
    assert limited.message == "1 due job of its queue may start before it"


def test_behind_counts_no_further_than_it_says(yard: Yard, sql: Sql) -> None:
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, %s)", MOST_AHEAD + 500)
    yard.worker(threads=1)

    [reason] = yard.reasons(yard.job())

    assert reason.message == f"more than {MOST_AHEAD - 1:,} due jobs may start before it"


def test_unknown_if_a_job_is_long_due_and_nothing_is_known_to_keep_it(yard: Yard, sql: Sql) -> None:
    yard.worker()
    job = yard.job()
    sql("UPDATE haulier.job SET run_at = now() - %s * interval '1 s'", STUCK_SECONDS + 1)
    sql("UPDATE haulier.job SET updated_at = run_at")
    without = yard.reasons(job)
    sql("UPDATE haulier.worker SET scans_fail = true")

    [reason] = yard.reasons(job)

    assert [each.code for each in without] == [reason.code] == [Code.UNKNOWN]
    assert "of 1 worker that its looks for new jobs fail" in reason.message
    assert "their looks" not in without[0].message


def test_unknown_and_not_behind_if_threads_are_free_and_nothing_moves(yard: Yard, sql: Sql) -> None:
    yard.worker(threads=2)
    jobs = [yard.job() for _ in range(3)]
    sql("UPDATE haulier.job SET run_at = run_at - interval '1 minute', updated_at = now() - interval '1 minute'")

    assert yard.codes(jobs[-1]) == [Code.UNKNOWN]


# What does not wait


def test_says_who_runs_a_job_and_when_it_times_out_at_the_earliest(yard: Yard) -> None:
    party, job = yard.worker(), yard.job()
    yard.claim(party)

    explained = explain(yard.conn, job.id, timeouts={"mail": 30})

    assert (explained.status, explained.waiting) == (JobStatus.RUNNING, None)
    run = explained.run
    assert (run.worker_id, run.worker) == (party.id, "dock:7")
    assert run.deadline - run.since == timedelta(seconds=30)
    assert explain(yard.conn, job.id, timeouts={}).run.deadline is None


def test_says_that_the_worker_of_a_running_job_is_gone(yard: Yard) -> None:
    party, job = yard.worker(), yard.job()
    yard.claim(party)
    claims.deregister(yard.conn, party.id)

    run = explain(yard.conn, job.id, timeouts={}).run

    assert (run.worker_id, run.worker, run.lease_ends) == (party.id, None, None)


def test_gives_nothing_for_a_job_that_has_ended_and_refuses_one_that_is_not_there(yard: Yard) -> None:
    job = yard.job()
    job_acts.cancel(yard.conn, job.id)

    explained = explain(yard.conn, job.id, timeouts={})

    assert (explained.status, explained.waiting, explained.run) == (JobStatus.CANCELLED, None, None)
    with pytest.raises(JobNotFound):
        explain(yard.conn, uuid4(), timeouts={})
