"""What running handlers say is written by the heartbeat: it ..."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from uuid import uuid4

import pytest

from haulier.queue import claims, search
from haulier.worker.steps import progress
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.supply.held import HeldJob
from tests import queueing
from tests.rivals import beside
from tests.worker.jobs import a_worker, held

# Whoever sends a statement through it fails.
NO_CONNECTION: Any = None


@pytest.fixture
def run(conn, enqueue, lease):
    def run() -> HeldJob:
        enqueue("t.note")
        [job] = queueing.claim(conn, worker_id=lease.registered_as, claim_id=uuid4(), queues=())
        return held(job, began_at=time.monotonic())

    return run


@pytest.fixture
def writing(lease):
    """Give a function that returns the writer of what these jobs say, once a second."""
    return lambda *jobs: ProgressWriter(lease, lambda: jobs, 1.0)


@pytest.fixture
def shown(conn):
    return lambda running: (search.get(conn, running.job.id).progress or {}).get("done")


@pytest.fixture
def due():
    def due(writer: ProgressWriter) -> ProgressWriter:
        writer._next_at = writer._again_at = float("-inf")
        return writer

    return due


def test_sends_nothing_if_no_handler_says_anything(writing, run):
    writing(run(), None).write(NO_CONNECTION)


def test_writes_for_all_jobs_at_once_what_is_new_and_once_a_second_at_most(writing, run, conn, shown, due, monkeypatch):
    first, second, silent = run(), run(), run()
    # However slow the machine is, the next time has not come when all has been said.
    monkeypatch.setattr(progress, "PERIOD_SECONDS", 600.0)
    writer, sent, write = writing(first, None, second, silent), [], claims.write_progress
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
    assert [shown(running) for running in (first, second, silent)] == [1000, 198, None]


def test_leaves_out_and_takes_away_what_has_ended(writing, run, conn, sql, due):
    ended, given_up = run(), run()
    writer = writing(ended, given_up)
    ended.context.progress(1)
    writer.write(conn)

    ended.has_ended = given_up.has_ended = True
    # Its thread runs on, for its handler cannot be stopped.
    given_up.context.progress(5)
    due(writer).write(conn)
    left = sql("SELECT count(*) FROM haulier.progress")
    due(writer).write(NO_CONNECTION)

    assert left == [(0,)]


def test_waits_ever_longer_if_it_is_refused_and_only_logs_it(writing, run, conn, sql, shown, due, caplog):
    running, pauses = run(), []
    writer = writing(running)
    sql("ALTER TABLE haulier.progress ADD CONSTRAINT mine CHECK (done > 1)")
    try:
        with caplog.at_level(logging.WARNING):
            for done in (*[1] * 7, 2, 1):
                running.context.progress(done)
                before = time.monotonic()
                due(writer).write(conn)
                assert writer._pause == 1 or writer._again_at >= before + writer._pause
                pauses.append(writer._pause)
    finally:
        sql("ALTER TABLE haulier.progress DROP CONSTRAINT mine")

    assert pauses == [2, 4, 8, 16, 32, 60, 60, 1, 2]
    assert shown(running) == 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "the database refuses the progress of running jobs, trying again in 2 s" in caplog.text
    assert 'violates check constraint "mine"' in caplog.text


def test_bears_a_missing_table_and_shows_no_password_of_a_note(writing, run, conn, sql, due, caplog):
    running = run()
    writer = writing(running)
    running.context.progress(1, note="fetching https://ann:swordfish@example.com/ now")

    sql("ALTER TABLE haulier.progress RENAME TO elsewhere")
    try:
        writer.write(conn)
    finally:
        sql("ALTER TABLE haulier.elsewhere RENAME TO progress")
    due(writer).write(conn)

    assert 'relation "haulier.progress" does not exist' in caplog.text
    progress = search.get(conn, running.job.id).progress
    assert progress["done"] == 1
    assert "swordfish" not in progress["note"]


def test_writes_nothing_of_a_job_that_was_claimed_before_this_process_was_declared_dead(lease, writing, run, conn, sql):
    running = run()
    running.context.progress(1)
    lease.lost()
    writing(running).write(NO_CONNECTION)
    lease.registered(a_worker(conn), time.monotonic())

    writing(running).write(conn)

    assert sql("SELECT count(*) FROM haulier.progress") == [(0,)]


def test_handlers_that_speak_all_the_time_are_in_nobodys_way(writing, run, conn, sql, due):
    running, over = run(), threading.Event()
    writer = writing(running)

    def speak() -> None:
        n = 0
        while not over.is_set():
            n += 1
            running.context.progress(n, n, f"page {n}")

    with beside(speak):
        try:
            for _ in range(50):
                due(writer).write(conn)
                for done, total, note in sql("SELECT done, total, note FROM haulier.progress"):
                    assert (total, note) == (done, f"page {done:.0f}")
        finally:
            over.set()
    assert sql("SELECT count(*) FROM haulier.progress") == [(1,)]
