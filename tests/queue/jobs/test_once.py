"""What is to be made once for each key, while others ask for the same: it ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, NewJob
from haulier.domain.operation import OperationAction
from haulier.queue import jobs
from haulier.queue.jobs.once import made_once
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.schedules.schedules import run_schedule_once
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.conftest import Sql
from tests.queue.schedules.schedules import plant

AtOnce = Callable[..., list[Any]]


def test_makes_one_job_however_many_ask_at_once(enqueue: Callable[..., Job], at_once: AtOnce, sql: Sql) -> None:
    job = enqueue()

    def copy(_: int, conn: Connection) -> Any:
        return made_once(conn, "copy-1", lambda: jobs.copy(conn, job.id).id)

    made = at_once(8, copy)

    assert sorted(each.is_new for each in made) == [False] * 7 + [True]
    assert {each.job_id for each in made} == {
        id for (id,) in sql("SELECT id FROM haulier.job WHERE copy_of IS NOT NULL")
    }


def test_runs_a_schedule_once_and_refuses_none_for_that(at_once: AtOnce, sql: Sql) -> None:
    plant(sql, every_seconds=3600, overlap="skip")

    made = at_once(8, lambda _, conn: run_schedule_once(conn, "nightly", "run-1"))

    assert sorted(each.is_new for each in made) == [False] * 7 + [True]
    assert sql("SELECT id FROM haulier.job") == [(made[0].job_id,)]


def test_starts_one_operation_of_a_preview(enqueue: Callable[..., Job], conn: Connection, at_once: AtOnce) -> None:
    enqueue()
    order = Order(OperationAction.CANCEL, JobFilter(kinds=["mail"]))
    seen = ops.preview(conn, order)

    started = at_once(8, lambda _, mine: ops.start_once(mine, order, as_of=seen.as_of, actor="Ann"))

    [found], _ = ops.list_operations(conn)
    assert sorted(is_new for _, is_new in started) == [False] * 7 + [True]
    assert {each.id for each, _ in started} == {found.id}


def test_leaves_the_key_free_and_no_job_if_making_it_failed(conn: Connection, sql: Sql) -> None:
    def make() -> UUID:
        [made] = queueing.enqueue(conn, [NewJob("mail", {})])
        assert made.job is not None
        return made.job.id

    def fail() -> UUID:
        make()
        raise LookupError

    with pytest.raises(LookupError):
        made_once(conn, "copy-1", fail)

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert [made_once(conn, "copy-1", make).is_new for _ in range(2)] == [True, False]
