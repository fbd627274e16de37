"""What was seen to stop a worker: rows that cannot be claimed or read, big orphans, refused tasks. It ..."""

from __future__ import annotations

import re

import pytest

from haulier.queue import search
from tests.conftest import eventually
from tests.docs.reading import section
from tests.isolation import report
from tests.isolation.conftest import IS_LONG, named, unhurt, until
from tests.isolation.scene import Scene
from tests.isolation.wire import Refusal
from tests.worker.jobs import a_worker

# What the housekeeper does at the start, besides dropping partitions.
HOUSEKEEPING = (
    *("partition_to_add", "purge_idempotency", "purge_audit", "purge_workers", "purge_ticks", "purge_queues"),
    "purge_progress",
)
# The first of them: all others come after it.
QUICK = ("partition_to_add",)


def test_a_job_that_a_new_constraint_forbids_is_skipped_and_named_once(worker, enqueue_many, conn, sql, ended, record):
    jobs = enqueue_many(100)
    [culprit] = enqueue_many(1, payload={"file": "forbidden"})
    sql("ALTER TABLE haulier.job ADD CONSTRAINT no_file CHECK (NOT payload ? 'file') NOT VALID")
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
            sql("ALTER TABLE haulier.job DROP CONSTRAINT no_file")
            eventually(lambda: len(ended()) == len(jobs) + 1)
    finally:
        sql("ALTER TABLE haulier.job DROP CONSTRAINT IF EXISTS no_file")
    assert set(ended().values()) == {("succeeded", 1)}
    record(
        "CHECK NOT VALID",
        "100 others ended, and this one without the constraint",
    )


def test_big_orphans_keep_no_dead_worker_from_its_grave(worker, enqueue_many, conn, sql, ended, record):
    # In the long form as big as it was seen: with each of them a rescue takes most of the time that a statement has.
    size, count = (200_000_000, 5) if IS_LONG else (2_000_000, 5)
    dead = a_worker(conn, lease_seconds=2)
    sql(
        "INSERT INTO haulier.job (kind, queue, payload, status, worker_id, claim, started_at, attempt, attempts)"
        " SELECT 't.note', 'big', jsonb_build_object('text', repeat('a', %s)), 'running', %s, gen_random_uuid(),"
        " now(), 1, 1 FROM generate_series(1, %s)",
        size, dead, count,
    )  # fmt: skip
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 minute'")
    jobs = enqueue_many(100)
    # Of other queues: to be run, they would have to be read.
    process = worker(WORKER_QUEUES="default")

    with unhurt(process, at_most=20):
        eventually(lambda: len(ended()) == len(jobs))
        eventually(lambda: sql("SELECT count(*) FROM haulier.worker WHERE id = %s", dead) == [(0,)])
        eventually(lambda: sql("SELECT count(*) FROM haulier.job WHERE crashes = 1") == [(count,)])
    record(
        "big orphans",
        f"{count} jobs were taken over, each in its own transaction",
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
    record("housekeeping", "the others were done", part=task)


@pytest.mark.skipif(IS_LONG, reason="is drawn when this run has ended")
def test_the_docs_have_the_table_of_what_the_last_run_showed():
    [drawn] = re.findall(
        r"<!-- refused rows -->\n(.*?)<!--", section("docs/reliability.md", "## Refused rows"), re.DOTALL
    )

    assert drawn.strip() == report.table(report.load())
