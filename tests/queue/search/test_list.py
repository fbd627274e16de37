"""The overview of queues and workers: it ..."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest

from haulier.domain.job import JobStatus
from haulier.queue.health import overview as system_overview
from haulier.queue.health.overview import QueueDepth, unserved_queues


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
        ([("mail", "other")], {"bulk": 2}),
        ([("mail", "other"), ("bulk",)], {}),
        ([("other",), ()], {}),
    ],
    ids=["nothing", "one of two", "both", "every queue"],
)
def test_counts_the_due_jobs_of_queues_that_no_live_worker_serves(
    conn, sql, register, let_lease_run_out, enqueue, long_look, served, unserved
):
    late(sql, "mail", "bulk", "bulk")
    enqueue(queue="bulk", delay=timedelta(hours=1))
    let_lease_run_out(register(queues=()))
    sql("UPDATE haulier.worker SET quiet = true WHERE id = %s", register(queues=()))
    for queues in served:
        register(queues=queues)

    overview, found = system_overview.overview(conn), system_overview.has_unserved(conn)
    named, own = unserved_queues(conn), unserved_queues(conn, queues=["mail", "salmon"])

    assert {depth.queue: depth.unserved for depth in overview.depths if depth.unserved} == unserved
    assert found is bool(unserved)
    assert (sorted(named.queues), named.is_whole) == (sorted(unserved), True)
    assert list(own.queues) == [name for name in unserved if name == "mail"]
    assert overview.health.serve_every_queue is (() in served)


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


def test_ping_makes_a_round_trip(conn):
    system_overview.ping(conn)

    conn.close()
    with pytest.raises(Exception, match="closed"):
        system_overview.ping(conn)
