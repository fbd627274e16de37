"""A worker beside many lanes that have nothing for it, or that it has emptied: it ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.worker.assembly import Assembly
from haulier.worker.lanes.marks import MOST_LANES
from haulier.worker.supply.buffer import Ended
from haulier.worker.supply.held import HeldJob
from tests.conftest import eventually
from tests.worker.jobs import a_worker

HOUR = 3600.0
# A scan of new jobs waits for twenty times as long as the last ones took, which can be long on a busy machine.
WITHIN = 60.0


@pytest.fixture
def worker(config, conn) -> Iterator[Assembly]:
    """Give a worker whose threads do not run, and which has been idle until now."""
    worker = Assembly(replace(config, worker_threads=200, poll_seconds=HOUR, lease_seconds=HOUR), {})
    worker.link.lease.registered(a_worker(conn, threads=200, lease_seconds=HOUR), time.monotonic())
    # No look waits.
    worker.link.bell = SimpleNamespace(clear=lambda: None, wait=lambda _: None)
    yield worker
    worker.database.close()


@pytest.fixture
def claimed(worker) -> Callable[[], list[str]]:
    """Give a function that looks for work as a thread does, and returns the queues of the jobs that it has claimed."""
    runner, buffer = worker.runner(1), worker.supply.buffer
    tasks = [buffer.next()]

    def claimed() -> list[str]:
        runner._make_round_trip(tasks.pop())
        queues, task = [], buffer.next()
        while isinstance(task, HeldJob):
            queues.append(task.job.queue)
            task.began_at = time.monotonic()
            # So quick that later claims take hundreds of them.
            task = buffer.next(Ended(task, Outcome.complete()), seconds=1e-5)
        tasks.append(task)
        return sorted(queues)

    return claimed


def put_in(sql, *queues: str) -> None:
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'mail', '{}', unnest(%s)", list(queues))


def defer(sql, first: int, last: int, days: int = 1) -> None:
    """Enqueue jobs that are due in so many days, each in a lane of its own."""
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, run_at)"
        " SELECT 'mail', '{}', 'other-' || n, now() + interval '1 day' * %s FROM generate_series(%s, %s) AS n",
        days, first, last,
    )  # fmt: skip


def scan_for_long(worker: Assembly, conn) -> None:
    """Have the worker know all lanes by a scan that took so long that the next one has to wait for a day."""
    worker.lanes.marks.scanned(claims.stretch(conn, queues=()).lanes, began_at=time.monotonic() - HOUR)


@pytest.mark.parametrize("is_paused", [False, True], ids=["deferred", "paused"])
def test_claims_a_new_job_without_a_scan_beside_any_number_of_lanes(worker, claimed, sql, conn, is_paused):
    last = 0
    for lanes in (10, MOST_LANES, MOST_LANES + 1, 1000):
        defer(sql, last + 1, lanes, days=0 if is_paused else 1)
        if is_paused:
            sql("SELECT haulier.pause_queue('other-' || n, NULL, NULL) FROM generate_series(%s, %s) n", last + 1, lanes)
        scan_for_long(worker, conn)

        for queue in (f"never-seen-{lanes}", "default", f"never-seen-{lanes}"):
            put_in(sql, queue)
            assert eventually(claimed, within=WITHIN) == [queue]

        assert not worker.lanes.marks.is_scan_due()
        last = lanes


def test_claims_a_new_job_before_it_makes_a_scan_that_takes_long(worker, claimed, sql, conn, monkeypatch):
    for _ in range(20):
        put_in(sql, "default")
        assert eventually(claimed, within=WITHIN) == ["default"]
    worker.lanes.marks.scanned([], began_at=time.monotonic() - HOUR)
    monkeypatch.setattr(worker.lanes.marks, "_clock", lambda: time.monotonic() + 30 * HOUR)
    monkeypatch.setattr(claims, "stretch", lambda *_, **__: pytest.fail("scanned the lanes"))
    assert worker.lanes.marks.is_scan_due()

    put_in(sql, "never-seen")

    assert claimed() == ["never-seen"]


def test_waits_until_the_scan_of_new_jobs_that_could_not_be_made(worker, conn):
    waits: list[float] = []
    look = worker.runner(1).look
    worker.link.bell = SimpleNamespace(wait=waits.append)
    scan_for_long(worker, conn)
    for _ in range(2):
        worker.lanes.marks.scanned_new([], began_at=time.monotonic() - 1.0)

    for look.has_seen_new in (True, False):
        look.wait()

    assert waits[0] == HOUR
    assert waits[1] <= 20.0 * 1.1
