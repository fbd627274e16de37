"""Behind a PgBouncer in transaction mode it ..."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any
from uuid import uuid4

import pytest
import requests

from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect, is_pooled
from haulier.queue.claims.wakeups import keeps_its_server
from haulier.queue.upkeep.partitions import drop_expired
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.pooler import pooler_to
from tests.rivals import beside
from tests.worker.conftest import RARELY, WOKEN_WITHIN
from tests.worker.jobs import a_worker
from tests.worker.waiting import AT_ONCE

pytestmark = pytest.mark.pgbouncer
THROUGH_DIRECT = "listening through DATABASE_DIRECT_URL"


@pytest.fixture
def wake_ups() -> Callable[[int], str]:
    """Give a function that asks a worker's port what it notices jobs by, and through which setting."""

    def wake_ups(port: int) -> str:
        try:
            said = requests.get(f"http://127.0.0.1:{port}/health", timeout=5).json()
        except requests.ConnectionError:
            return ""
        return f"{said['wake_ups']} through {said['through']}"

    return wake_ups


@pytest.fixture
def old_partition(migrated_database: str) -> str:
    """Give the DSN, by way of the pool, of a database whose history has a partition of long ago."""
    with closing(connect(migrated_database)) as conn:
        sql_on(conn)(
            "CREATE TABLE haulier.finished_job_old PARTITION OF haulier.finished_job"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
        )
    return migrated_database


@pytest.fixture
def noise(database: str) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        with closing(connect(database)) as conn, conn.cursor() as cursor:
            while not over.is_set():
                cursor.execute("SELECT pg_sleep(0.002 * random())")

    with beside(*[ask] * 12):
        yield
        over.set()


def on_twenty(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Return what this returns on twenty connections, all at once, so that each has one of the pool to itself."""
    with ExitStack() as opened:
        return [sql_on(opened.enter_context(closing(connect(dsn))))(f"BEGIN; {statement}")[0] for _ in range(20)]


def test_is_seen_to_be_there_and_to_share_its_connections(database, direct):
    with closing(connect(database)) as pooled, closing(connect(direct(database))) as straight:
        assert is_pooled(pooled)
        assert not is_pooled(straight)
        # Also by who uses it alone.
        assert not keeps_its_server(pooled, database)
        assert keeps_its_server(straight, direct(database))


def test_is_seen_to_share_its_connections_whatever_others_do(noise, database):
    for _ in range(20):
        with closing(connect(database)) as pooled:
            assert not keeps_its_server(pooled, database)


@pytest.mark.parametrize("size", [20, 1])
def test_is_seen_to_leave_a_connection_to_whom_it_is_lent_in_session_mode(noise, database, postgres, size):
    with pooler_to(postgres, mode="session", size=size) as pooler:
        dsn = pooler.through(database)
        with closing(connect(dsn)) as conn:
            assert keeps_its_server(conn, dsn)


def test_keeps_no_prepared_statement_that_another_client_would_find(database, enqueue):
    with closing(connect(database)) as conn:
        enqueue("t.note")

        jobs = queueing.claim(conn, worker_id=a_worker(conn), claim_id=uuid4(), queues=())

        assert sql_on(conn)("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
        assert sql_on(conn)("SHOW tcp_user_timeout") == [("0",)]
    assert len(jobs) == 1


def test_a_worker_knows_that_it_is_not_woken_and_looks(spawn_worker, free_port, metric, wake_ups, latency, sleepers):
    worker = spawn_worker(DATABASE_DIRECT_URL="", WORKER_METRICS_PORT=free_port, POLL_SECONDS=0.2)

    eventually(lambda: "no notifications arrive through DATABASE_URL, probably because of a pool" in worker.log)
    latency()
    took = [latency() for _ in range(20)]

    assert statistics.median(took) < 0.2 + 0.1
    assert max(took) < AT_ONCE
    assert sleepers() == 0
    assert wake_ups(free_port) == "polling through DATABASE_URL"
    assert metric(free_port, "worker_polling") == 1


def test_a_worker_is_woken_through_a_session_pool(
    spawn_worker, free_port, postgres, database, wake_ups, latency, sleepers
):
    with pooler_to(postgres, mode="session") as pooler:
        spawn_worker(DATABASE_DIRECT_URL=pooler.through(database), WORKER_METRICS_PORT=free_port, POLL_SECONDS=RARELY)
        eventually(lambda: wake_ups(free_port) == THROUGH_DIRECT and sleepers() == 1)

        took = [latency() for _ in range(10)]

    assert max(took) < WOKEN_WITHIN


def test_a_worker_is_woken_past_a_pool_that_loses_its_connections(
    spawn_worker, free_port, wake_ups, database, direct, latency, sleepers
):
    worker = spawn_worker(WORKER_METRICS_PORT=free_port, POLL_SECONDS=RARELY)
    eventually(lambda: wake_ups(free_port) == THROUGH_DIRECT and sleepers() == 1)
    took = [latency() for _ in range(10)]

    with closing(connect(direct(database))) as straight:
        # The pool's, whoever has been lent them, and the listener's.
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert len(sql_on(straight)(f"SELECT pg_terminate_backend(pid) {others}")) >= 2
        queueing.enqueue(straight, [NewJob("t.note", {})])

        eventually(lambda: sql_on(straight)("SELECT count(*) FROM haulier.job") == [(0,)])
    eventually(lambda: wake_ups(free_port) == THROUGH_DIRECT)
    assert max(took) < WOKEN_WITHIN
    assert worker.popen.poll() is None


def test_housekeeping_drops_a_partition_and_leaves_no_setting_to_others(old_partition):
    dropped = drop_expired(old_partition, retention_days=30)

    assert dropped == ["finished_job_old"]
    assert on_twenty(old_partition, "SELECT to_regclass('haulier.finished_job_old')") == [(None,)] * 20
    assert on_twenty(old_partition, "SHOW lock_timeout") == [("0",)] * 20


def test_housekeeping_gives_up_at_once_if_somebody_reads_the_history(old_partition, direct):
    with closing(connect(direct(old_partition))) as reader:
        sql_on(reader)("BEGIN; SELECT count(*) FROM haulier.finished_job")
        began = time.monotonic()

        with pytest.raises(DatabaseUnavailable):
            drop_expired(old_partition, retention_days=30)
        took = time.monotonic() - began
        sql_on(reader)("COMMIT")

    assert took < 0.9
    assert drop_expired(old_partition, retention_days=30) == ["finished_job_old"]


def test_no_connection_of_the_pool_listens_once_workers_have_asked(spawn_worker, noise, database):
    stopped = [spawn_worker(DATABASE_DIRECT_URL="") for _ in range(3)]
    for worker in stopped:
        worker.terminate()
        assert worker.wait() == 0
    for _ in range(3):
        worker = spawn_worker(DATABASE_DIRECT_URL="")
        eventually(lambda worker=worker: "no notifications arrive through" in worker.log)
        worker.kill()

    listening = dict(on_twenty(database, "SELECT pg_backend_pid(), ARRAY(SELECT pg_listening_channels())"))

    assert len(listening) == 20
    assert not any(listening.values()), listening
