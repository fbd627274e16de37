"""The depths that a worker has counted, used instead of counting anew for each scrape: they ..."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

import pytest

from haulier.queue import claims
from haulier.queue.health import overview
from haulier.queue.health.overview import QueueDepth
from haulier.queue.numbers import counts, depths

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
