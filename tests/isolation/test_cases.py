"""What was seen to stop a worker: rows that cannot be claimed or read, big orphans, refused tasks. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from haulier.domain.job import NewJob
from haulier.queue import claims, search
from haulier.queue.upkeep.partitions import ensure_partitions
from tests import queueing
from tests.conftest import eventually
from tests.isolation.conftest import IS_LONG, named, unhurt, until
from tests.isolation.scene import Scene
from tests.isolation.wire import Refusal

# What the housekeeper does at the start, besides dropping partitions.
HOUSEKEEPING = (
    *("partition_to_add", "purge_idempotency", "purge_audit", "purge_workers", "purge_ticks", "purge_queues"),
    "purge_progress",
)
# The first of them, and one in the middle.
QUICK = ("partition_to_add", "purge_ticks")


def run(conn: Any, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def test_a_job_that_a_new_constraint_forbids_is_skipped_and_named_once(worker, enqueue_many, conn, ended, record):
    jobs = enqueue_many(50)
    [receipt] = queueing.enqueue(conn, [NewJob("t.note", {"file": "forbidden"})])
    jobs += enqueue_many(50)
    culprit = receipt.job
    run(conn, "ALTER TABLE haulier.job ADD CONSTRAINT no_file CHECK (NOT payload ? 'file') NOT VALID")
    try:
        process = worker()
        with unhurt(process, at_most=10):
            in_time = until(lambda: len(ended()) == len(jobs))
            until(lambda: named(process))

            assert in_time, f"{len(jobs) - len(ended())} of {len(jobs)} good jobs were held up"
            assert named(process) == {str(culprit.id): 1}
            assert search.get(conn, culprit.id).attempts == 0
            # PostgreSQL quotes the whole row.
            assert "forbidden" not in process.log, "a payload in the log"
            run(conn, "ALTER TABLE haulier.job DROP CONSTRAINT no_file")
            eventually(lambda: len(ended()) == len(jobs) + 1)
    finally:
        run(conn, "ALTER TABLE haulier.job DROP CONSTRAINT IF EXISTS no_file")
    assert set(ended().values()) == {("succeeded", 1)}
    record(
        "CHECK NOT VALID",
        "a `CHECK … NOT VALID` that one of 101 waiting jobs violates: the other 100 ended, the process lived, the"
        " culprit was named once; without the constraint it succeeded, with one attempt",
    )


def _count(conn: Any, table: str) -> int:
    [(count,)] = run(conn, f"SELECT count(*) FROM haulier.{table}")
    return int(count)


def test_big_orphans_keep_no_dead_worker_from_its_grave(worker, enqueue_many, conn, record):
    # In the long form as big as it was seen: with each of them a rescue takes most of the time that a statement has.
    size, count = (200_000_000, 5) if IS_LONG else (2_000_000, 5)
    dead = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=2)
    run(
        conn,
        "INSERT INTO haulier.job (kind, queue, payload, status, worker_id, claim, started_at, attempt, attempts)"
        " SELECT 't.note', 'big', jsonb_build_object('text', repeat('a', %s)), 'running', %s, gen_random_uuid(),"
        " now(), 1, 1 FROM generate_series(1, %s)",
        size,
        dead,
        count,
    )
    run(conn, "UPDATE haulier.worker SET beat_at = now() - interval '1 minute'")
    jobs = enqueue_many(100)
    # Of other queues: to be run, they would have to be read.
    process = worker(WORKER_QUEUES="default")

    with unhurt(process, at_most=20):
        eventually(lambda: _count(conn, "finished_job") == len(jobs))
        eventually(lambda: run(conn, "SELECT FROM haulier.worker WHERE id = %s", dead) == [])
        eventually(lambda: run(conn, "SELECT count(*) FROM haulier.job WHERE crashes = 1") == [(count,)])
    record(
        "big orphans",
        f"{count} orphans of {size // 1_000_000} MB each: their worker was buried at once and all {count} rescued, each"
        " in a transaction of its own",
    )


@pytest.mark.direct("the proxy stands before the database itself")
@pytest.mark.parametrize(
    "task", [task if task in QUICK else pytest.param(task, marks=pytest.mark.slow) for task in HOUSEKEEPING]
)
def test_a_refused_task_of_housekeeping_keeps_no_other_from_being_done(task, worker, wire, conn, record):
    Scene(conn)
    wire.refuse(task, Refusal("42501"))
    process = worker(DATABASE_URL=wire.url)

    with unhurt(process, at_most=20):
        eventually(lambda: wire.refused > 0)
        others = {*HOUSEKEEPING, "drop_partition"} - {task}
        assert until(lambda: others <= wire.seen.keys()), f"{others - wire.seen.keys()} not done"
    record("housekeeping", "one task is refused: the others were done", part=task)


@pytest.fixture(autouse=True)
def history_reaches_ahead(conn) -> Iterator[None]:
    """Make the partitions again that a test has dropped."""
    yield
    ensure_partitions(conn, retention_days=30)
