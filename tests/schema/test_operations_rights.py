"""Operations under the rights of grants.sql: the API starts them, a worker works them off. It ..."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import JobStatus, NewJob
from haulier.domain.operation import OperationAction
from haulier.postgres.connection import connect
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Order
from haulier.queue.operations.work_off import Worker, leave, work_off
from haulier.queue.search import bounded_scan
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep.purge import purge_operations
from tests import queueing

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


def cancelled(conn: Connection, kind: str) -> UUID:
    [receipt] = queueing.enqueue(conn, [NewJob(kind, {})])
    assert receipt.job is not None
    job_acts.cancel(conn, receipt.job.id)
    return receipt.job.id


def status_of(conn: Connection, job_id: UUID) -> JobStatus:
    return search.get(conn, job_id).status


def test_a_worker_works_it_off_under_its_role_and_forgets_it_when_it_is_old(roles):
    with closing(connect(roles.owner)) as owner, closing(connect(roles.worker)) as worker:
        job = cancelled(owner, "mail")
        ops.start(owner, Order(OperationAction.RETRY, JobFilter()), as_of=None, actor=None)
        by = Worker(uuid4(), 15.0, 15.0)

        assert work_off(worker, by)
        leave(worker, by)
        assert status_of(owner, job) is JobStatus.QUEUED
        with owner.cursor() as cursor:
            cursor.execute("UPDATE haulier.operation SET finished_at = now() - interval '99 days'")
            cursor.execute("UPDATE haulier.preview SET as_of = now() - interval '2 days'")
        assert purge_operations(worker, retention_days=30) == 2


def test_a_worker_finds_the_jobs_of_a_rare_tag(roles, monkeypatch):
    # So that the first statement finds none of them.
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 1)
    with closing(connect(roles.owner)) as owner, closing(connect(roles.worker)) as worker:
        receipts = queueing.enqueue(owner, [NewJob("mail", {}, tags=["a"]) for _ in range(4)])
        others = queueing.enqueue(owner, [NewJob("mail", {})] * 10)
        jobs = [receipt.job.id for receipt in [*receipts, *others] if receipt.job is not None]
        for each in [*jobs[:2], *jobs[9:]]:
            job_acts.cancel(owner, each)
        for action in (OperationAction.RETRY, OperationAction.CANCEL):
            ops.start(owner, Order(action, JobFilter(tags=["a"])), as_of=None, actor=None)

        by = Worker(uuid4(), 15.0, 15.0)
        while work_off(worker, by, most_jobs=2):
            pass

        ended = [(each.status, each.done, each.error) for each in ops.list_operations(owner)[0]]
        assert ended == [("done", 2, None)] * 2
