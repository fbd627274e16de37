"""The depths that a worker has counted, in place of those that are counted for each scrape: they ..."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

import pytest

from haulier.queue import consume, produce
from haulier.queue.produce.overview import QueueDepth
from haulier.queue.upkeep import depths, numbers

FILL = """
    INSERT INTO haulier.job (kind, queue, payload, run_at, status, worker_id, claim, started_at)
    SELECT kind, queue, '{}', now() - make_interval(secs => due), status,
        CASE status WHEN 'running' THEN gen_random_uuid() END, gen_random_uuid(), now()
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (kind, queue, status, due)
"""


@pytest.fixture
def crowd(conn, sql):
    """Give a function that stores jobs of so many queues and counts them."""

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
        numbers.counting_ends_in(conn)
        depths.count_live(conn)

    return crowd


def ageless(depths: Collection[QueueDepth]) -> list[QueueDepth]:
    """Return the depths with ages to the nearest hundreds of seconds, which pass by between two looks."""
    return [
        replace(depth, oldest_due_seconds=depth.oldest_due_seconds and round(depth.oldest_due_seconds, -3))
        for depth in depths
    ]


@pytest.mark.parametrize("queues", [3, 150])
@pytest.mark.parametrize("served", [None, (), ("queue-0", "queue-2")], ids=["nobody", "all", "some"])
def test_say_what_counting_all_jobs_says(conn, crowd, queues, served):
    if served is not None:
        consume.register(conn, host="dock", pid=7, threads=8, queues=served, lease_seconds=300)
    crowd(queues)

    counted, exact = produce.overview(conn, as_counted=True), produce.overview(conn)

    assert len(exact.depths) > 8
    assert ageless(counted.depths) == ageless(exact.depths)


def test_hold_what_no_queue_has_a_row_for_among_the_others(conn, crowd, monkeypatch):
    monkeypatch.setattr(depths, "MOST_DEPTHS", 5)
    crowd(50)

    counted, exact = produce.overview(conn, as_counted=True), produce.overview(conn)

    assert sum(depth.jobs for depth in counted.depths) == sum(depth.jobs for depth in exact.depths)
    assert "*" not in {depth.queue for depth in counted.depths}
    assert sum(depth.unserved for depth in counted.depths) == sum(depth.unserved for depth in exact.depths)


@pytest.mark.parametrize(("ago", "is_used"), [("30 s", True), ("61 s", False), (None, False)])
def test_are_used_for_a_minute_after_they_were_counted(conn, sql, crowd, enqueue, ago, is_used):
    crowd(3)
    enqueue(queue="new")
    sql("UPDATE haulier.counting SET depth_at = now() - %s::interval", ago)

    found = {depth.queue for depth in produce.overview(conn, as_counted=True).depths}

    assert ("new" not in found) is is_used


def test_are_not_used_unless_asked_for(conn, crowd, enqueue):
    crowd(3)
    enqueue(queue="new")

    assert "new" in {depth.queue for depth in produce.overview(conn).depths}
