"""The overview of queues and workers, also by the depths that a worker has counted. It ..."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from importlib import import_module

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import claims
from haulier.queue.health import overview
from haulier.queue.health import overview as system_overview
from haulier.queue.health.overview import QueueDepth, unserved_queues
from haulier.queue.numbers import counts, depths


def test_counts_by_queue_and_status_with_the_age_of_the_oldest_due(conn, enqueue, running, worker, sql):
    running(queue="mail")
    old, _later = enqueue(queue="mail"), enqueue(queue="mail", delay=timedelta(hours=1))
    enqueue(queue="bulk", delay=timedelta(hours=1))
    sql("UPDATE haulier.job SET run_at = now() - interval '100 s' WHERE id = %s", old.id)

    overview = system_overview.overview(conn)

    depths = {(depth.queue, depth.status): depth for depth in overview.depths}
    assert depths["bulk", JobStatus.QUEUED] == QueueDepth("bulk", JobStatus.QUEUED, 1, None)
    assert depths["mail", JobStatus.RUNNING] == QueueDepth("mail", JobStatus.RUNNING, 1, None)
    assert depths["mail", JobStatus.QUEUED].jobs == 2
    assert 100 <= depths["mail", JobStatus.QUEUED].oldest_due_seconds < 110
    # Seven when they were made, which may have been before midnight.
    assert overview.history_days_ahead > 6


def test_counts_live_workers_with_the_age_of_the_oldest_beat(conn, register, let_lease_run_out):
    nobody = system_overview.overview(conn)
    register()
    let_lease_run_out(register(lease=30))

    overview = system_overview.overview(conn)

    assert (nobody.health.workers, nobody.health.oldest_beat_seconds) == (0, None)
    assert overview.health.workers == 1
    assert 31 <= overview.health.oldest_beat_seconds < 40


@pytest.fixture
def long_look(monkeypatch):
    """Let a look for queues without a worker take as long as a busy machine needs."""
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "LOOK_SECONDS", 10.0)


def late(sql, *queues: str, seconds: float = 100) -> None:
    """Put a job into each of these queues that has been due for this many seconds."""
    insert = (
        "INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES ('mail', '{}', %s, now() - %s * interval '1 s')"
    )
    for queue in queues:
        sql(insert, queue, seconds)


def test_counts_the_due_jobs_of_queues_that_no_live_worker_serves(
    conn, sql, register, let_lease_run_out, enqueue, long_look
):
    late(sql, "mail", "bulk", "bulk")
    enqueue(queue="bulk", delay=timedelta(hours=1))
    let_lease_run_out(register(queues=()))
    sql("UPDATE haulier.worker SET quiet = true WHERE id = %s", register(queues=()))
    rest = {"bulk": 2, "mail": 1}
    for served, unserved in ((None, rest), (("mail", "other"), {"bulk": 2}), (("bulk",), {}), ((), {})):
        if served is not None:
            register(queues=served)

        overview, found = system_overview.overview(conn), system_overview.has_unserved(conn)
        named, own = unserved_queues(conn), unserved_queues(conn, queues=["mail", "salmon"])

        assert {depth.queue: depth.unserved for depth in overview.depths if depth.unserved} == unserved
        assert found is bool(unserved)
        assert (sorted(named.queues), named.is_whole) == (sorted(unserved), True)
        assert list(own.queues) == [name for name in unserved if name == "mail"]
        assert overview.health.serve_every_queue is (served == ())


def test_does_not_warn_of_jobs_that_are_not_due_or_only_just(conn, sql, enqueue, long_look):
    late(sql, "mail", seconds=1)
    enqueue(queue="bulk", delay=timedelta(hours=1))

    assert system_overview.has_unserved(conn) is False


def test_finds_an_unserved_queue_behind_served_ones_and_one_not_due(conn, sql, register, enqueue, long_look):
    register(queues=tuple(f"a{n}" for n in range(500)))
    late(sql, *(f"a{n}" for n in range(500)))
    enqueue(queue="z", priority=7, delay=timedelta(hours=1))
    before = system_overview.has_unserved(conn)

    late(sql, "z")

    assert (before, system_overview.has_unserved(conn)) == (False, True)


# --- As counted


FILL = """
    INSERT INTO haulier.job (kind, queue, payload, run_at, status, worker_id, claim, started_at)
    SELECT kind, queue, '{}', now() - make_interval(secs => due), status,
        CASE status WHEN 'running' THEN gen_random_uuid() END, gen_random_uuid(), now()
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (kind, queue, status, due)
"""


@pytest.fixture
def crowd(conn, sql):
    """Give a function that stores jobs of this many queues and counts them."""

    def crowd(queues: int, *, jobs: int = 400, seed: int = 1) -> None:
        chance = random.Random(seed)
        drawn = [
            (
                chance.choice(["mail", "hook"]),
                f"queue-{int(chance.random() ** 2 * queues)}" if chance.random() > 0.1 else "other",
                chance.choice(["queued", "retrying", "running"]),
                chance.choice([10_000.0, 20_000.0, -10_000.0]),
            )
            for _ in range(jobs)
        ]
        sql(FILL, *([each[place] for each in drawn] for place in range(4)))
        counts.counting_ends_in(conn)
        depths.count_live(conn)

    return crowd


def ageless(depths: Collection[QueueDepth]) -> list[QueueDepth]:
    """Return the depths with ages to the nearest hundreds of seconds, which pass by between two looks."""
    return [
        replace(depth, oldest_due_seconds=depth.oldest_due_seconds and round(depth.oldest_due_seconds, -3))
        for depth in depths
    ]


@pytest.mark.parametrize(
    ("queues", "served"), [(3, None), (150, ()), (150, ("queue-0", "queue-2"))], ids=["nobody", "all", "some"]
)
def test_say_what_counting_all_jobs_says(conn, crowd, queues, served):
    if served is not None:
        claims.register(conn, host="dock", pid=7, threads=8, queues=served, lease_seconds=300)
    crowd(queues)

    counted, exact = overview.overview(conn, as_counted=True), overview.overview(conn)

    assert len(exact.depths) > 8
    assert ageless(counted.depths) == ageless(exact.depths)


def test_include_queues_without_a_row_of_their_own(conn, crowd, monkeypatch):
    monkeypatch.setattr(depths, "MOST_DEPTHS", 5)
    crowd(50)

    counted, exact = overview.overview(conn, as_counted=True), overview.overview(conn)

    assert sum(depth.jobs for depth in counted.depths) == sum(depth.jobs for depth in exact.depths)
    assert "*" not in {depth.queue for depth in counted.depths}
    assert sum(depth.unserved for depth in counted.depths) == sum(depth.unserved for depth in exact.depths)


def test_are_used_for_a_minute_after_they_were_counted_if_asked_for(conn, sql, crowd, enqueue):
    crowd(3)
    enqueue(queue="new")

    for ago, is_used in (("30 s", True), ("61 s", False), (None, False)):
        sql("UPDATE haulier.counting SET depth_at = now() - %s::interval", ago)
        queues = {depth.queue for depth in overview.overview(conn, as_counted=True).depths}
        assert ("new" not in queues) is is_used
    assert "new" in {depth.queue for depth in overview.overview(conn).depths}
