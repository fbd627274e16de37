"""Taking the jobs of dead workers. The rescuer ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.connection import connect
from haulier.postgres.errors import translated
from haulier.queue import search
from haulier.queue.health.ended_workers import EndedOnHost, ended_on_host, list_ended, taken_over
from haulier.worker.lanes.refused import RefusalLog, Refused
from haulier.worker.link.lease import Lease
from haulier.worker.steps.rescue import GIVE_UP_SECONDS, Rescuer
from lab.proxy import proxy_to
from tests.conftest import eventually
from tests.isolation.rows import refusing
from tests.worker.conftest import Clock
from tests.worker.jobs import a_worker

ORPHAN = (
    "INSERT INTO haulier.job (kind, queue, payload, status, worker_id, claim, started_at, attempt, attempts,"
    " max_attempts, crashes, suspect) VALUES ('t.note', %s, jsonb_build_object('text', repeat('a', %s)), 'running', %s,"
    " gen_random_uuid(), now(), 1, 1, 1, 1, true) RETURNING id"
)


@pytest.fixture
def rescuer(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Rescuer:
    """Give one that looks for the orphans of all workers each time, and takes jobs of 1 kB for large ones."""
    monkeypatch.setattr("haulier.queue.claims.rescue.BYTES_AT_ONCE", 1000)
    made = Rescuer(Lease(30.0), Refused("rescue", RefusalLog(clock=clock), clock=clock), lease_seconds=30.0)
    monkeypatch.setattr("haulier.worker.steps.rescue.EVERYBODY_LEASES", 0)
    return made


@pytest.fixture
def as_stored(sql: Any) -> Iterator[None]:
    """Let no payload be compressed: a large one is to be large as it is stored."""
    sql("ALTER TABLE haulier.job ALTER payload SET STORAGE EXTERNAL")
    yield
    sql("ALTER TABLE haulier.job ALTER payload SET STORAGE EXTENDED")


@pytest.fixture
def orphan(sql, as_stored) -> Callable[[str, int], UUID]:
    """Give a function that stores a running job of a worker without a row, which was alone when it crashed before."""
    return lambda queue, size: sql(ORPHAN, queue, size, uuid4())[0][0]


def test_ends_a_job_without_its_payload_after_long_failure_to_move(rescuer, conn, orphan, clock, caplog):
    large, small = orphan("large", 9000), orphan("small", 10)
    with refusing(conn, "finished_job", "INSERT", "length(NEW.payload::text) > 5000", "57014"):
        for _ in range(9):
            rescuer.sweep(conn)
            clock.now += 100.0
        before = {job: search.get(conn, job) for job in (large, small)}
        clock.now += GIVE_UP_SECONDS
        rescuer.sweep(conn)

    assert [str(before[job].status) for job in (large, small)] == ["running", "failed_permanent"]
    ended = search.get(conn, large)
    assert (str(ended.status), ended.payload) == ("failed_permanent", {})
    assert ended.last_error is not None
    assert "could not be moved to the history: it was dropped" in ended.last_error
    assert f"refuses to rescue job {large}" in caplog.text
    assert f"job {large} could not be moved to the history for" in caplog.text


def test_keeps_the_payload_of_a_job_that_a_trigger_refuses(rescuer, conn, orphan, clock):
    refused = orphan("large", 9000)
    with refusing(conn, "finished_job", "INSERT", "true", "55000"):
        for _ in range(9):
            rescuer.sweep(conn)
            clock.now += GIVE_UP_SECONDS
    rescuer.sweep(conn)

    ended = search.get(conn, refused)
    assert (str(ended.status), len(ended.payload["text"])) == ("failed_permanent", 9000)


def test_names_the_job_that_cost_the_connection_and_takes_the_others(rescuer, database, conn, orphan, caplog):
    large = orphan("large", 9000)
    with proxy_to(database) as proxy:
        # As if the server runs out of memory with this job, and is killed.
        proxy.cut_before = large.hex.encode()
        with closing(connect(proxy.url)) as mine, pytest.raises(DatabaseUnavailable), translated():
            rescuer.sweep(mine)
    small = orphan("small", 10)

    rescuer.sweep(conn)

    assert [str(search.get(conn, job).status) for job in (large, small)] == ["running", "failed_permanent"]
    assert f"refuses to rescue job {large}" in caplog.text


def test_sweeps_as_soon_as_a_lease_runs_out(conn, sql):
    worker = "INSERT INTO haulier.worker (host, pid, threads, lease) VALUES (%s, 1, 1, %s) RETURNING 1"
    sql(worker, "a", "2 s")
    sql(worker, "b", "1 hour")
    lease = Lease(3600.0)
    lease.registered(uuid4(), time.monotonic() - 3601.0)
    lease.beaten(time.monotonic(), 1.0)
    rescuer = Rescuer(lease, Refused("rescue", RefusalLog()), lease_seconds=3600.0)

    rescuer.look_ahead(conn)
    rescuer.sweep(conn)

    # By itself the next sweep would come after ten minutes.
    assert not rescuer.is_due()
    eventually(rescuer.is_due)
    rescuer.look_ahead(conn)
    rescuer.sweep(conn)
    assert sql("SELECT host FROM haulier.worker") == [("b",)]
    assert not rescuer.is_due()


def test_notes_on_a_dead_worker_how_many_jobs_were_taken_and_the_first(rescuer, conn, sql, monkeypatch):
    monkeypatch.setattr("haulier.queue.claims.rescue.MOST_NAMED", 2)
    dead = a_worker(conn)
    jobs = [sql(ORPHAN, "mail", 10, dead)[0][0] for _ in range(3)]
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")

    rescuer.sweep(conn)

    [(taken, first)] = sql("SELECT taken_over, taken_over_jobs FROM haulier.worker_past")
    assert (taken, len(first), set(first) < set(jobs)) == (3, 2, True)
    [ended] = list_ended(conn, limit=5)
    assert ended.taken_over == 3
    assert [each.id for each in taken_over(conn, dead)] == first
    # A key of other queues learns of neither.
    assert [each.taken_over for each in list_ended(conn, limit=5, queues=["other"])] == [None]
    assert taken_over(conn, dead, queues=["other"]) == []
    assert ended_on_host(conn, ended.host) == EndedOnHost(stopped=0, buried=1)
