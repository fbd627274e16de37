"""Operations, as worker processes work them off. They ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from haulier.domain.operation import OperationAction, OperationStatus
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order
from haulier.queue.search.job_filter import JobFilter
from haulier.worker.steps.operate import LEASE_SECONDS, NextOperation
from tests.conftest import Sql, eventually
from tests.touched import touching
from tests.worker.waiting import AT_ONCE

FAILED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'failed_permanent', 't.note', 'default', 0, now(), 1, 1, 3, 0, 0, false, '{}', '[]',
        now() - n * interval '1 second', now(), now()
    FROM generate_series(1, %s) AS n
    RETURNING id
"""
# Has each step take so long that they stay small: a process is killed in one, or in the rest after it.
SLOW = """
    CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON haulier.job FOR EACH STATEMENT EXECUTE FUNCTION public.slow();
"""
QUICK = "DROP TRIGGER slow ON haulier.job; DROP FUNCTION public.slow()"
# Ends the connection that is in a step.
CUT_OFF = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
        AND query ~ 'haulier_retry_all_|DELETE FROM haulier.finished_job'
"""
# Workers that do not run what is retried.
ELSEWHERE = {"WORKER_QUEUES": "elsewhere", "COUNTING": "off"}
# By then it did not wait until the turn of the one before had ended by time.
SOONER = 0.75 * LEASE_SECONDS


@pytest.fixture
def slow(sql: Sql) -> Iterator[None]:
    sql(SLOW)
    yield
    sql(QUICK)


def retry(conn, *, starts_in: float = 0.0) -> Operation:
    order = Order(OperationAction.RETRY, JobFilter(), starts_in_seconds=starts_in)
    return ops.start(conn, order, as_of=None, actor=None)


@pytest.fixture
def of(conn) -> Callable[[Operation], Operation]:
    return lambda operation: ops.get_operation(conn, operation.id)


@pytest.fixture
def under_way(spawn_worker, conn, sql, slow, of) -> Operation:
    """Give an operation on 2000 jobs that a worker has begun."""
    sql(FAILED, 2000)
    operation = retry(conn)
    spawn_worker(**ELSEWHERE)
    eventually(lambda: of(operation).done > 0)
    return operation


def test_retry_each_job_once_while_they_are_killed_three_times(spawn_worker, conn, sql, slow, of):
    ids = {each for (each,) in sql(FAILED, 800)}
    with touching(sql) as touched:
        operation = retry(conn)
        for done in (100, 300, 500):
            process = spawn_worker(**ELSEWHERE)
            eventually(lambda done=done: of(operation).done >= done)
            process.kill()
            # As if its turn had ended by time.
            sql("UPDATE haulier.operation SET worked_until = now()")
        assert of(operation).status is OperationStatus.RUNNING
        spawn_worker(**ELSEWHERE)
        eventually(lambda: of(operation).status is OperationStatus.DONE)
        acted = touched.by(operation.id)

    ended = of(operation)
    assert (ended.matched, ended.done, ended.skipped, ended.failed) == (800, 800, 0, 0)
    assert (len(acted), set(acted)) == (800, ids)


def test_stop_soon_after_a_cancel_and_go_on_after_a_resume(conn, sql, under_way, of):
    began = time.monotonic()
    cancelled = ops.cancel_operation(conn, under_way.id)

    assert time.monotonic() - began < AT_ONCE
    assert 0 < cancelled.done < 2000
    assert sql("SELECT count(*) FROM haulier.job") == [(cancelled.done,)]
    ops.resume_operation(conn, under_way.id)
    eventually(lambda: of(under_way).done > cancelled.done)

    eventually(lambda: sql(CUT_OFF))

    done = of(under_way).done
    eventually(lambda: of(under_way).done > done, within=SOONER)


def test_begin_when_it_is_due_and_let_another_go_on_when_they_stop(spawn_worker, conn, sql, slow, of):
    sql(FAILED, 1500)
    first = spawn_worker(**ELSEWHERE)
    operation = retry(conn, starts_in=2)

    eventually(lambda: of(operation).started_at is not None)
    begun = of(operation)
    assert 0 <= (begun.started_at - begun.starts_at).total_seconds() < AT_ONCE
    eventually(lambda: of(operation).done > 0)
    second = spawn_worker(**ELSEWHERE)
    first.terminate()
    assert first.wait() == 0

    done = of(operation).done
    eventually(lambda: of(operation).done > done, within=SOONER)
    assert "Traceback" not in first.log + second.log


def test_try_again_soon_what_is_due_and_could_not_be_taken():
    next_operation = NextOperation()
    next_operation.seen(0.0)
    waking = threading.Timer(5.0, next_operation.close)
    waking.start()

    tries = [next_operation.wait() for _ in range(2)]
    next_operation.seen(None)
    next_operation.close()
    waking.cancel()

    assert (tries, next_operation.wait()) == ([True, True], False)
