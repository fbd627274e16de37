"""Looking at jobs: it ..."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from uuid import uuid4

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import JobNotFound
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import consume, produce
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.overview import QueueDepth, unserved_queues
from tests import queueing


@pytest.fixture
def fleet(conn, worker, sql):
    """Give sixty jobs, newest first: of all statuses, two kinds and queues, three created in each hour."""
    queueing.enqueue(
        conn, [NewJob("mail" if n % 2 else "image", {"n": n}, queue="bulk" if n % 3 else "default") for n in range(60)]
    )
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=50)
    ends = [Outcome.complete(), Outcome.fail_for_good("no"), Outcome.fail("no", delay=60)]
    consume.settle(conn, [Settlement(Fence.of(job), ends[n % 3]) for n, job in enumerate(claimed[:45])])
    for (job_id,) in sql("SELECT id FROM haulier.job WHERE status = 'queued' ORDER BY id LIMIT 5"):
        produce.cancel(conn, job_id)
    for table in ("job", "finished_job"):
        sql(
            f"UPDATE haulier.{table} SET created_at ="
            " date_trunc('hour', now()) - make_interval(hours => (payload ->> 'n')::integer / 3)"
        )
    jobs = [produce.get(conn, row[0]) for row in sql("SELECT id FROM haulier.jobs")]
    jobs.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    assert {job.status for job in jobs} == set(JobStatus)
    return jobs


def test_lists_live_and_finished_jobs_newest_first(conn, fleet):
    listed = produce.list_jobs(conn, JobFilter(limit=100)).jobs

    assert listed == fleet


def test_lists_at_most_the_limit(conn, fleet):
    listed = produce.list_jobs(conn, JobFilter(limit=7)).jobs

    assert listed == fleet[:7]


def test_skips_the_offset(conn, fleet):
    listed = produce.list_jobs(conn, JobFilter(limit=7, offset=50)).jobs
    beyond = produce.list_jobs(conn, JobFilter(offset=1000)).jobs

    assert listed == fleet[50:57]
    assert beyond == []


@pytest.mark.parametrize("status", JobStatus)
def test_filters_by_status(conn, fleet, status):
    listed = produce.list_jobs(conn, JobFilter(statuses=[status], limit=100)).jobs

    assert listed == [job for job in fleet if job.status is status]
    assert listed


def test_filters_by_kind_and_queue(conn, fleet):
    listed = produce.list_jobs(conn, JobFilter(kinds=["mail"], queues=["bulk"], limit=100)).jobs
    unknown = produce.list_jobs(conn, JobFilter(kinds=["no.such"])).jobs

    assert listed == [job for job in fleet if (job.kind, job.queue) == ("mail", "bulk")]
    assert listed
    assert unknown == []


def test_filters_by_when_they_were_created_bounds_excluded(conn, fleet):
    after, before = fleet[30].created_at, fleet[6].created_at

    listed = produce.list_jobs(conn, JobFilter(created_after=after, created_before=before, limit=100)).jobs

    assert listed == [job for job in fleet if after < job.created_at < before]
    assert listed


@pytest.mark.parametrize("limit", [1, 2, 7, 59, 60])
def test_pages_by_cursor_see_each_job_once_over_ties_too(conn, fleet, limit):
    seen, after = [], None

    while page := produce.list_jobs(conn, JobFilter(limit=limit, after=after)).jobs:
        seen += page
        after = (page[-1].created_at, page[-1].id)

    assert seen == fleet


def test_pages_by_cursor_stay_in_place_while_jobs_come_and_move(conn, fleet, enqueue, claim, settle, make_due):
    first = produce.list_jobs(conn, JobFilter(limit=30)).jobs
    enqueue()
    for job in fleet[30:]:
        if job.status is JobStatus.RETRYING:
            produce.cancel(conn, job.id)

    second = produce.list_jobs(conn, JobFilter(limit=30, after=(first[-1].created_at, first[-1].id))).jobs

    assert [job.id for job in first + second] == [job.id for job in fleet]


def test_a_cursor_and_a_filter_go_together(conn, fleet):
    mails = [job for job in fleet if job.kind == "mail"]

    page = produce.list_jobs(conn, JobFilter(kinds=["mail"], limit=5, after=(mails[9].created_at, mails[9].id))).jobs

    assert page == mails[10:15]


def test_gets_a_job_wherever_it_is(conn, enqueue, running, settle):
    live, finished = enqueue(priority=-1), running()
    settle(finished, Outcome.complete({"n": 1}))

    found = [produce.get(conn, live.id), produce.get(conn, finished.id)]

    assert found[0].read() == live.read()
    assert (found[1].id, found[1].result) == (finished.id, {"n": 1})


def test_does_not_know_an_unknown_job(conn):
    with pytest.raises(JobNotFound):
        produce.get(conn, uuid4())


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_gives_times_in_utc_whatever_the_sessions_time_zone(conn, enqueue, sql):
    job = enqueue()
    sql("SET TimeZone = 'Asia/Kathmandu'")

    found = produce.get(conn, job.id)

    assert found.read() == job.read()
    assert found.created_at.utcoffset() == timedelta(0)


def test_overview_counts_by_queue_and_status_and_tells_the_age_of_the_oldest_due(conn, enqueue, running, worker, sql):
    running(queue="mail")
    old, _later = enqueue(queue="mail"), enqueue(queue="mail", delay=timedelta(hours=1))
    enqueue(queue="bulk", delay=timedelta(hours=1))
    sql("UPDATE haulier.job SET run_at = now() - interval '100 s' WHERE id = %s", old.id)

    overview = produce.overview(conn)

    depths = {(depth.queue, depth.status): depth for depth in overview.depths}
    assert depths["bulk", JobStatus.QUEUED] == QueueDepth("bulk", JobStatus.QUEUED, 1, None)
    assert depths["mail", JobStatus.RUNNING] == QueueDepth("mail", JobStatus.RUNNING, 1, None)
    assert depths["mail", JobStatus.QUEUED].jobs == 2
    assert 100 <= depths["mail", JobStatus.QUEUED].oldest_due_seconds < 110
    # Seven when they were made, which may have been before midnight.
    assert overview.history_days_ahead > 6


def test_overview_counts_the_workers_that_beat_and_tells_the_age_of_the_oldest_beat(conn, register, let_lease_run_out):
    nobody = produce.overview(conn)
    register()
    let_lease_run_out(register(lease=30))

    overview = produce.overview(conn)

    assert (nobody.health.workers, nobody.health.oldest_beat_seconds) == (0, None)
    assert overview.health.workers == 1
    assert 31 <= overview.health.oldest_beat_seconds < 40


@pytest.fixture
def long_look(monkeypatch):
    """Let a look for what nobody serves take as long as a busy machine needs."""
    monkeypatch.setattr(import_module("haulier.queue.produce.overview"), "LOOK_SECONDS", 10.0)


def late(sql, *queues: str, seconds: float = 100) -> None:
    """Put a job into each of these queues that has been due for so long."""
    for queue in queues:
        sql(
            "INSERT INTO haulier.job (kind, payload, queue, run_at)"
            " VALUES ('mail', '{}', %s, now() - make_interval(secs => %s))",
            queue,
            seconds,
        )


@pytest.mark.parametrize(
    ("served", "unserved"),
    [
        ([], {"bulk": 2, "mail": 1}),
        ([("mail",)], {"bulk": 2}),
        ([("mail", "other"), ("bulk",)], {}),
        ([("other",)], {"bulk": 2, "mail": 1}),
        ([("other",), ()], {}),
    ],
    ids=str,
)
def test_overview_counts_the_due_jobs_of_queues_that_no_live_worker_serves(
    conn, sql, register, let_lease_run_out, enqueue, long_look, served, unserved
):
    late(sql, "mail", "bulk", "bulk")
    enqueue(queue="bulk", delay=timedelta(hours=1))
    let_lease_run_out(register(queues=()))
    sql("UPDATE haulier.worker SET quiet = true WHERE id = %s", register(queues=()))
    for queues in served:
        register(queues=queues)

    overview, found = produce.overview(conn), produce.has_unserved(conn)
    named, own = unserved_queues(conn), unserved_queues(conn, queues=["mail", "salmon"])

    assert {depth.queue: depth.unserved for depth in overview.depths if depth.unserved} == unserved
    assert found is bool(unserved)
    assert (sorted(named.queues), named.is_whole) == (sorted(unserved), True)
    assert list(own.queues) == [name for name in unserved if name == "mail"]
    assert overview.health.serve_every_queue is (() in served)


def test_does_not_warn_of_jobs_that_are_not_due_or_only_just(conn, sql, enqueue, long_look):
    late(sql, "mail", seconds=1)
    enqueue(queue="bulk", delay=timedelta(hours=1))

    assert produce.has_unserved(conn) is False


def test_finds_an_unserved_queue_behind_many_that_are_served_and_a_lane_behind_one_that_is_not_due(
    conn, sql, register, enqueue, long_look
):
    register(queues=tuple(f"a{n}" for n in range(500)))
    late(sql, *(f"a{n}" for n in range(500)))
    enqueue(queue="z", priority=7, delay=timedelta(hours=1))
    before = produce.has_unserved(conn)

    late(sql, "z")

    assert (before, produce.has_unserved(conn)) == (False, True)


def test_ping_makes_a_round_trip(conn):
    produce.ping(conn)

    conn.close()
    with pytest.raises(Exception, match="closed"):
        produce.ping(conn)
