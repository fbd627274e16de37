"""Firing beside whoever changes a schedule at its tick, locks its tables, or has large jobs. It ..."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.schedules.schedule import Missed, Overlap, Rule, TickOutcome
from haulier.postgres.pool import Database
from haulier.postgres.statements import bounded, transaction
from haulier.queue.schedules.fire import BYTES_AT_ONCE, fire_due
from haulier.queue.schedules.schedules import delete_schedule, put_schedule
from haulier.worker.link.outage import Outage
from haulier.worker.steps.fire import LOOK_SECONDS, Firing
from tests.conftest import eventually, sql_on
from tests.queue.schedules.schedules import Sql, account, plant, set_time, ticks
from tests.rivals import beside

# Seconds of schedules that pass in one of ours.
FASTER = 100
OpenConn = Callable[[], Connection]


@pytest.fixture
def fast(sql: Sql) -> Iterator[None]:
    """Let the time by which schedules go pass faster."""
    set_time(sql, f"timestamptz '2026-11-27 12:00Z' + {FASTER} * (now() - timestamptz '{sql('SELECT now()')[0][0]}')")
    yield
    set_time(sql)


@contextmanager
def two_firers(open_conn: OpenConn) -> Iterator[list[int]]:
    """Let two fire what is due as fast as they can. A number is added for each turn of either."""
    over, turns = threading.Event(), list[int]()

    def fire(conn: Connection) -> None:
        while not over.is_set():
            turns.append(fire_due(conn, retention_days=30).fired)

    with beside(*(partial(fire, open_conn()) for _ in range(2))) as results:
        try:
            yield turns
        finally:
            over.set()
    assert results == [None, None]


def rule(number: int) -> Rule:
    """Return one of each second, all of whose ticks fire however late; the jitter is on and off by turns."""
    return Rule(
        {"kind": "mail", "payload": {"n": number}, "queue": "default", "max_attempts": 3, "priority": 0},
        every_seconds=1,
        missed=Missed.ALL,
        missed_max=1000,
        missed_within_seconds=86_400,
        jitter_seconds=number % 2,
    )


def change_at_its_ticks(conn: Connection, sql: Sql, open_conn: OpenConn, times: int) -> None:
    put_schedule(conn, "nightly", rule(0), retention_days=30)
    with two_firers(open_conn):
        for number in range(1, times + 1):
            assert not put_schedule(conn, "nightly", rule(number), retention_days=30)

    fire_due(conn, retention_days=30)
    found = account(sql)
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] > times / 10
    # Each by the rule that held at its time: none by one that had been replaced before.
    by_rule = [number for (number,) in sql("SELECT payload -> 'n' FROM haulier.job ORDER BY scheduled_for")]
    assert by_rule == sorted(by_rule)
    assert len(set(by_rule)) > times / 20


@pytest.mark.usefixtures("fast")
def test_loses_and_doubles_no_tick_of_a_schedule_that_is_changed_at_it(
    conn: Connection, sql: Sql, open_conn: OpenConn
) -> None:
    change_at_its_ticks(conn, sql, open_conn, 100)


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_loses_and_doubles_no_tick_of_a_schedule_that_is_changed_at_it_1000_times(
    conn: Connection, sql: Sql, open_conn: OpenConn
) -> None:
    change_at_its_ticks(conn, sql, open_conn, 1000)


@pytest.mark.usefixtures("fast")
def test_fires_nothing_of_a_schedule_once_its_deletion_at_a_tick_was_answered(
    conn: Connection, sql: Sql, open_conn: OpenConn
) -> None:
    rows = "SELECT count(*) FROM haulier.tick"
    with two_firers(open_conn) as turns:
        for number in range(30):
            [(before,)] = sql(rows)
            put_schedule(conn, "nightly", rule(number), retention_days=30)
            eventually(lambda: sql(rows)[0][0] > before)  # noqa: B023 - called at once
            delete_schedule(conn, "nightly")
            then, seen = sql(rows), len(turns)
            eventually(lambda: len(turns) > seen + 4)  # noqa: B023 - called at once
            assert sql(rows) == then

    found = account(sql)
    assert found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 30


def test_locks_tables_in_the_order_of_schema_sql(conn: Connection, sql: Sql, open_conn: OpenConn) -> None:
    plant(sql, seconds_ago=60, every_seconds=20, overlap="skip")
    other = open_conn()
    conn.autocommit = False
    sql("LOCK TABLE haulier.schedule IN SHARE MODE")
    with beside(lambda: fire_due(other, retention_days=30).fired) as fired:
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'haulier.schedule'::regclass"
        eventually(lambda: sql(waits) == [(1,)])
        # It has none of them yet; else each would wait for the other now.
        sql("SET LOCAL lock_timeout = '200ms'; LOCK TABLE haulier.tick, haulier.job IN SHARE MODE")
        conn.commit()

    assert fired == [1]
    assert [outcome for outcome, _ in ticks(sql)] == ["fired", "skipped_overlap", "skipped_overlap"]


def test_skips_no_schedule_while_a_table_is_locked(database: str, sql: Sql, open_conn: OpenConn) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    other = open_conn()
    try:
        with transaction(other):
            # As a migration that builds an index.
            sql_on(other)("LOCK TABLE haulier.job IN SHARE MODE")
            with bounded(seconds=5, lock_seconds=0.1):
                assert step.turn() == LOOK_SECONDS
        step.turn()
        assert [outcome for outcome, _ in ticks(sql)] == [TickOutcome.FIRED] * 3
    finally:
        step.database.close()


def test_writes_a_bounded_amount_of_large_jobs_in_one_transaction(conn: Connection, sql: Sql) -> None:
    job = {"kind": "mail", "payload": {"text": "x" * 2_000_000}}
    plant(sql, seconds_ago=20, job=job)
    plant(sql, "other", seconds_ago=20, job=job)

    first = fire_due(conn, retention_days=30).fired
    while fire_due(conn, retention_days=30).decided:
        pass

    # Of 2 MB, 16 MiB.
    assert 1 <= first <= 8
    found = account(sql)
    assert found["ticks"] == found["fired"] == found["jobs"] >= 40


def test_decides_one_tick_at_a_time_of_a_huge_job(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=3, job={"kind": "mail", "payload": {"text": "x" * (BYTES_AT_ONCE + 1)}})

    assert [fire_due(conn, retention_days=30).fired for _ in range(3)] == [1, 1, 1]


def test_an_overlap_is_seen_by_the_next_to_fire(conn: Connection, sql: Sql, open_conn: OpenConn) -> None:
    with_skip = Rule(rule(0).job, every_seconds=1, overlap=Overlap.SKIP)
    put_schedule(conn, "nightly", with_skip, retention_days=30)
    sql(
        "UPDATE haulier.schedule"
        " SET decided_to = decided_to - interval '9 s', counts_from = counts_from - interval '9 s'"
    )
    with two_firers(open_conn):
        eventually(lambda: len(ticks(sql)) > 10)

    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]
