"""What running handlers say is written by the heartbeat: it ..."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from uuid import uuid4

import pytest

from haulier.config import Config
from haulier.domain.claim import Fence
from haulier.kinds import JobContext
from haulier.queue import claims, search
from haulier.worker.link.lease import Lease
from haulier.worker.steps import progress
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.supply.held import HeldJob
from tests import queueing
from tests.isolation.rows import refusing

CONFIG = Config("postgres://db.example.com/haulier")
# Whoever sends a statement through it fails.
NO_CONNECTION: Any = None


@pytest.fixture
def lease(conn) -> Lease:
    lease = Lease(30.0)
    lease.registered(
        claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30), time.monotonic()
    )
    return lease


@pytest.fixture
def run(conn, enqueue, lease):
    """Give a function that returns a job as it is while its handler runs."""

    def run() -> HeldJob:
        enqueue("t.note")
        [job] = queueing.claim(conn, worker_id=lease.registered_as, claim_id=uuid4(), queues=())
        return HeldJob(job, JobContext(job, CONFIG), None, began_at=time.monotonic())

    return run


@pytest.fixture
def shown(conn):
    """Give a function that returns how much of a job is done, as it is shown."""

    def shown(held: HeldJob) -> Any:
        found = search.get(conn, held.job.id).progress
        return found and found["done"]

    return shown


@pytest.fixture
def due():
    """Give a function that makes a writer's next time come."""

    def due(writer: ProgressWriter) -> ProgressWriter:
        writer._next_at = writer._again_at = float("-inf")
        return writer

    return due


def test_sends_nothing_if_no_handler_says_anything(lease, run):
    silent = run()

    ProgressWriter(lease, lambda: [silent, None], 1.0).write(NO_CONNECTION)


def test_writes_for_all_jobs_at_once_what_is_new_and_once_a_second_at_most(lease, run, conn, shown, due, monkeypatch):
    first, second, silent = run(), run(), run()
    # However slow the machine is, the next time has not come when all has been said.
    monkeypatch.setattr(progress, "PERIOD_SECONDS", 600.0)
    writer, sent = ProgressWriter(lease, lambda: [first, None, second, silent], 1.0), []
    write = claims.write_progress
    monkeypatch.setattr(
        claims, "write_progress", lambda *given, **more: (sent.append(set(given[2])), write(*given, **more))
    )
    for n in range(100):
        first.context.progress(n)
        second.context.progress(2 * n)
        writer.write(conn)
    due(writer).write(conn)
    first.context.progress(1000)
    due(writer).write(conn)
    due(writer).write(conn)

    assert sent == [{first.fence, second.fence}, {first.fence, second.fence}, {first.fence}]
    assert [shown(held) for held in (first, second, silent)] == [1000, 198, None]


def test_leaves_out_and_takes_away_what_has_ended(lease, run, conn, sql, due):
    ended, given_up = run(), run()
    writer = ProgressWriter(lease, lambda: [ended, given_up], 1.0)
    ended.context.progress(1)
    writer.write(conn)

    ended.has_ended = given_up.has_ended = True
    # Its thread runs on, for its handler cannot be stopped.
    given_up.context.progress(5)
    due(writer).write(conn)
    left = sql("SELECT count(*) FROM haulier.progress")
    due(writer).write(NO_CONNECTION)

    assert left == [(0,)]


def test_waits_ever_longer_if_it_is_refused_and_only_logs_it(lease, run, conn, sql, shown, due, caplog):
    held = run()
    writer = ProgressWriter(lease, lambda: [held], 1.0)
    held.context.progress(1)

    def waits(times: int) -> list[float]:
        found = []
        for _ in range(times):
            before = time.monotonic()
            due(writer).write(conn)
            assert writer._pause == 1 or writer._again_at >= before + writer._pause
            found.append(writer._pause)
        return found

    sql("ALTER TABLE haulier.progress ADD CONSTRAINT mine CHECK (done > 1)")
    try:
        with caplog.at_level(logging.WARNING):
            refused = waits(7)
            held.context.progress(2)
            taken = waits(1)
            held.context.progress(1)
            again = waits(1)
    finally:
        sql("ALTER TABLE haulier.progress DROP CONSTRAINT mine")

    assert (refused, taken, again) == ([2, 4, 8, 16, 32, 60, 60], [1], [2])
    assert shown(held) == 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "the database refuses the progress of running jobs, trying again in 2 s" in caplog.text
    assert 'violates check constraint "mine"' in caplog.text


def test_goes_on_writing_for_the_others_while_one_is_refused(lease, run, conn, shown, caplog):
    refused, other = run(), run()
    writer = ProgressWriter(lease, lambda: [refused, other], 1.0)
    with refusing(conn, "progress", "INSERT", f"NEW.job_id = '{refused.job.id}'", "55000", is_deferred=True):
        for n in range(1, 4):
            refused.context.progress(n)
            other.context.progress(n)
            # The next second has come, and not the end of the pause.
            writer._next_at = float("-inf")
            writer.write(conn)
            assert (shown(refused), shown(other)) == (None, n)
    writer._next_at = writer._again_at = float("-inf")

    writer.write(conn)

    assert (shown(refused), writer._pause) == (3, 1)
    assert len(caplog.records) == 1


def test_bears_that_the_table_is_not_there(lease, run, conn, sql, shown, due, caplog):
    held = run()
    writer = ProgressWriter(lease, lambda: [held], 1.0)
    held.context.progress(1)

    sql("ALTER TABLE haulier.progress RENAME TO elsewhere")
    try:
        writer.write(conn)
    finally:
        sql("ALTER TABLE haulier.elsewhere RENAME TO progress")
    due(writer).write(conn)

    assert 'relation "haulier.progress" does not exist' in caplog.text
    assert shown(held) == 1


def test_shows_no_password_of_a_note(lease, run, conn):
    held = run()
    held.context.progress(1, note="fetching https://ann:swordfish@example.com/ now")

    ProgressWriter(lease, lambda: [held], 1.0).write(conn)

    assert "swordfish" not in search.get(conn, held.job.id).progress["note"]


def test_writes_nothing_of_a_job_that_was_claimed_before_this_process_was_declared_dead(lease, run, conn, sql):
    held = run()
    held.context.progress(1)
    lease.lost()
    ProgressWriter(lease, lambda: [held], 1.0).write(NO_CONNECTION)
    lease.registered(
        claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30), time.monotonic()
    )

    ProgressWriter(lease, lambda: [held], 1.0).write(conn)

    assert sql("SELECT count(*) FROM haulier.progress") == [(0,)]


def test_handlers_that_speak_all_the_time_are_in_nobodys_way(lease, run, conn, shown, due):
    held, over = run(), threading.Event()
    writer = ProgressWriter(lease, lambda: [held], 1.0)

    def speak() -> None:
        n = 0
        while not over.is_set():
            n += 1
            held.context.progress(n, n, f"page {n}")

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        for _ in range(50):
            due(writer).write(conn)
            [[done, total, note]] = _rows(conn, held)
            assert (total, note) == (done, f"page {done:.0f}")
    finally:
        over.set()
        thread.join()


def _rows(conn, held: HeldJob) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT done, total, note FROM haulier.progress WHERE claim = %s", [Fence.of(held.job).claim])
        return cursor.fetchall()
