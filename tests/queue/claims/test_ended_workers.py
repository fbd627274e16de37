"""The workers that have ended: they ..."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.queue import claims
from haulier.queue.upkeep.purge import purge_workers
from tests import queueing
from tests.conftest import Sql

Register = Callable[..., UUID]

ENDED = "SELECT id, ended_how FROM haulier.worker_past ORDER BY id"


def test_are_noted_as_they_were_when_they_stopped(conn: Connection, register: Register, sql: Sql) -> None:
    worker = register(queues=("mail", "bulk"))
    claims.introduce(conn, worker, kinds=["mail"])
    claims.say_stopping(conn, worker)
    columns = "id, host, pid, threads, queues, version, started_at, beat_at"
    before = sql(f"SELECT {columns}, beat_at + lease FROM haulier.worker")

    claims.deregister(conn, worker)

    assert sql(f"SELECT {columns}, lease_ends FROM haulier.worker_past") == before
    assert sql("SELECT ended_how, ended_at BETWEEN beat_at AND now() FROM haulier.worker_past") == [("stopped", True)]


def test_differ_by_whether_their_lease_had_run_out(
    conn: Connection, register: Register, let_lease_run_out: Callable[[UUID], None], sql: Sql
) -> None:
    stopped, dead, gone, alive = (register() for _ in range(4))
    for worker in (dead, gone):
        let_lease_run_out(worker)

    # By hand, with no function of Haulier's.
    sql("DELETE FROM haulier.worker WHERE id = %s RETURNING 1", gone)
    claims.deregister(conn, stopped)
    queueing.rescue(conn)

    assert sql(ENDED) == sorted([(stopped, "stopped"), (dead, "buried"), (gone, "buried")])
    assert sql("SELECT id FROM haulier.worker") == [(alive,)]


def test_do_not_keep_a_rescue_waiting_while_the_table_is_locked(
    conn: Connection,
    register: Register,
    let_lease_run_out: Callable[[UUID], None],
    open_conn: Callable[[], Connection],
    running: Callable[..., object],
    sql: Sql,
) -> None:
    for _ in range(60):
        dead = register()
        running(by=dead)
        let_lease_run_out(dead)
    rival = open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("LOCK TABLE haulier.worker_past IN ACCESS EXCLUSIVE MODE")

    began = time.monotonic()
    rescued = queueing.rescue(conn)
    took = time.monotonic() - began
    rival.rollback()

    assert (len(rescued.workers), len(rescued.jobs), rescued.refused) == (60, 60, [])
    # One wait of 0.1 s for all of them, and not one for each.
    assert took < 5
    assert sql(ENDED) == []


SPOILED = (
    "ALTER TABLE haulier.worker_past ADD COLUMN mine text NOT NULL",
    "ALTER TABLE haulier.worker_past RENAME TO elsewhere",
    "ALTER TABLE haulier.worker_past ADD CHECK (pid < 0)",
)


def test_end_even_if_the_database_does_not_note_it_and_its_log_says_so(
    conn: Connection, register: Register, let_lease_run_out: Callable[[UUID], None], sql: Sql
) -> None:
    for spoil in SPOILED:
        stopped, dead = register(), register()
        let_lease_run_out(dead)
        conn.notices.clear()
        sql(f"BEGIN; {spoil}")

        claims.deregister(conn, stopped)
        buried = claims.bury(conn)
        left = sql("SELECT count(*) FROM haulier.worker")
        sql("ROLLBACK; DELETE FROM haulier.worker; DELETE FROM haulier.worker_past")

        assert [each.id for each in buried] == [dead]
        assert left == [(0,)]
        assert sum("which workers have ended is not noted" in notice for notice in conn.notices) == 2


def test_are_forgotten_with_the_history(conn: Connection, register: Register, sql: Sql) -> None:
    for age in (29, 31, 90):
        worker = register()
        claims.deregister(conn, worker)
        sql(
            "UPDATE haulier.worker_past SET ended_at = now() - %s * interval '1 day' WHERE id = %s RETURNING 1",
            age,
            worker,
        )

    assert purge_workers(conn, retention_days=30) == 2
    assert purge_workers(conn, retention_days=30) == 0
    assert sql("SELECT now() - ended_at < interval '30 days' FROM haulier.worker_past") == [(True,)]
