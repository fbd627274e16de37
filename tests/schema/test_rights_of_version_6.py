"""Roles with the rights that version 6 gave, after `migrate`: it ..."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.progress import Progress
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue import consume, produce
from haulier.queue.produce import operations as ops
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.operations import Order
from haulier.queue.produce.work_off import Worker, leave, work_off
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.purge import purge_operations
from tests.roles import Roles, apply_grants, least_roles
from tests.schema.permitted import TABLES, ask, columns_of, is_permitted, permitted_on, quoted

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

# What programs of version 6 send to cancel a job that waits.
CANCEL_OF_VERSION_6 = """
    WITH gone AS (DELETE FROM haulier.job WHERE id = %s RETURNING *)
    INSERT INTO haulier.finished_job SELECT id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at,
        attempts, max_attempts, crashes, snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors,
        created_at, now(), now() FROM gone RETURNING id
"""


@pytest.fixture
def old_roles(super_conn: Connection, fresh_database: str) -> Iterator[Roles]:
    """Give the roles as version 6 had them, in its schema."""
    with least_roles(super_conn, fresh_database, version=6) as roles:
        yield roles


def test_both_versions_work_from_migrate_until_the_rights_are_given_again(
    old_roles: Roles, super_conn: Connection
) -> None:
    with closing(connect(old_roles.owner)) as owning:
        migrate(owning, retention_days=30)
    with closing(connect(old_roles.web)) as conn:
        first, second = (receipt.job for receipt in produce.enqueue(conn, [NewJob("mail", {})] * 2))
        new = [produce.cancel(conn, first.id), produce.retry(conn, first.id).id]
        old = ask(conn, CANCEL_OF_VERSION_6, str(second.id))
    partition = max(name for name, _ in columns_of(super_conn) if name.startswith("finished_job_2"))
    ask(super_conn, f"DROP TABLE haulier.{partition}")

    with closing(connect(old_roles.worker)) as conn:
        made = partitions.ensure_partitions(conn, retention_days=30)
        with transaction(conn):
            ask(conn, f"SET LOCAL ROLE {quoted(old_roles.names['owner'])}")
        worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        [job] = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        consume.write_progress(conn, worker, {Fence.of(job): Progress(1, 2, None, time.monotonic())}, seconds=2)
    with closing(connect(old_roles.web)) as conn:
        shown = produce.get(conn, job.id).progress

    assert shown["done"] == 1
    assert new == [True, first.id]
    assert old == [(second.id,)]
    assert made == [partition]


def test_operations_and_the_search_for_suspects_work_until_then_too(old_roles: Roles) -> None:
    with closing(connect(old_roles.owner)) as owning:
        migrate(owning, retention_days=30)
    with closing(connect(old_roles.web)) as conn:
        [receipt, _] = produce.enqueue(conn, [NewJob("mail", {})] * 2)
        order = Order(OperationAction.CANCEL, JobFilter())
        started = ops.start(conn, order, as_of=ops.preview(conn, order).as_of, actor=None)
        ops.resume_operation(conn, ops.cancel_operation(conn, started.id).id)
        assert work_off(conn, Worker(uuid4(), 5.0, 0.0), most_jobs=1)

    with closing(connect(old_roles.worker)) as conn:
        seen = consume.suspects_and_operations(conn, queues=())
        by = Worker(uuid4(), 15.0, 15.0)
        while work_off(conn, by):
            pass
        leave(conn, by)
        purge_operations(conn, retention_days=0)

    assert seen.operation_in is not None
    with closing(connect(old_roles.web)) as conn:
        assert produce.get(conn, receipt.job.id).status == "cancelled"
        assert ask(conn, "SELECT count(*) FROM haulier.operation") == [(0,)]


def test_to_give_the_rights_again_takes_what_version_6_gave(old_roles: Roles, super_conn: Connection) -> None:
    with closing(connect(old_roles.owner)) as owning:
        migrate(owning, retention_days=30)
    apply_grants(super_conn, old_roles.names["web"], old_roles.names["worker"])
    columns = columns_of(super_conn)

    found = {}
    for part in TABLES:
        with closing(connect(getattr(old_roles, part))) as conn:
            tables = {
                name: permitted_on(conn, f"haulier.{name}", kind, names) for (name, kind), names in columns.items()
            }
            found[part] = {name: may for name, may in tables.items() if may}
            assert not is_permitted(conn, f"SET ROLE {quoted(old_roles.names['owner'])}")

    assert found == TABLES
