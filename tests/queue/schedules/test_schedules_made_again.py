"""Schedules that are made again, and firing beside whoever changes one at its tick or locks its tables. It ..."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from functools import partial

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.schedules.schedule import Missed, Overlap, Rule, TickOutcome
from haulier.domain.schedules.schedule_waiting import ScheduleCode
from haulier.postgres.statements import bounded
from haulier.queue.schedules import schedules
from haulier.queue.schedules.fire import BYTES_AT_ONCE, fire_due
from haulier.queue.schedules.schedule_health import failures, unfired
from haulier.queue.schedules.schedules import delete_schedule, put_schedule
from haulier.queue.upkeep.purge import purge_ticks
from haulier.worker.steps.fire import LOOK_SECONDS
from tests.conftest import eventually
from tests.queue.plans import copy_to_history
from tests.queue.schedules.schedules import HEALTHY, account, plant, ticks
from tests.rivals import beside

# Each tick fires, however late.
ALL = {"missed": Missed.ALL, "missed_max": 1000, "missed_within_seconds": 31_536_000}
RULE = Rule(HEALTHY["job"], every_seconds=3600, **ALL)


def fire(conn: Connection) -> int:
    return fire_due(conn, retention_days=30).fired


def make(conn: Connection) -> None:
    schedules.put_schedule(conn, "nightly", RULE, retention_days=30)


def codes(conn: Connection) -> list[str]:
    return [reason.code for reason in unfired(conn, "nightly", retention_days=30).reasons()]


def fire_ten_days_ahead(conn: Connection, at: Callable[[str], None]) -> None:
    """Make a schedule on the 1st at noon, and fire its ticks up to noon of the 11th."""
    at("01 12:00:00")
    make(conn)
    at("11 12:00:01")
    assert fire(conn) == 240


@pytest.mark.parametrize("deleted_at", ["01 12:30:00", "11 12:30:00"], ids=["clock back", "clock still ahead"])
def test_fires_what_is_made_again_at_times_that_were_decided_before(conn, sql, at, deleted_at):
    fire_ten_days_ahead(conn, at)
    at(deleted_at)
    schedules.delete_schedule(conn, "nightly")
    at("01 13:00:00")
    make(conn)

    at("01 15:00:01")

    assert codes(conn) == ["no_worker"]
    assert fire(conn) == 2
    assert codes(conn) == [ScheduleCode.NOT_DUE]
    assert sql("SELECT count(*), count(DISTINCT job_id) FROM haulier.tick WHERE outcome = 'fired'") == [(242, 242)]
    assert sql("SELECT count(*) FROM haulier.job") == [(242,)]


def test_runs_by_hand_what_is_made_again_at_an_instant_at_which_it_ran_before(conn, sql, at):
    at("01 12:00:00")
    jobs = []
    for _ in range(2):
        make(conn)
        jobs.append(schedules.run_schedule(conn, "nightly"))
        schedules.delete_schedule(conn, "nightly")

    assert sorted(jobs) == sorted(job for (job,) in sql("SELECT id FROM haulier.job"))


def test_a_new_schedule_has_no_last_tick_and_no_failures_of_the_deleted_one(conn, sql, at):
    at("01 12:00:00")
    make(conn)
    at("01 15:00:01")
    fire(conn)
    copy_to_history(sql, "'failed_permanent'")
    sql("DELETE FROM haulier.job")
    failed = failures(conn).in_a_row, list(schedules.last_ticks(conn, ["nightly"]))
    schedules.delete_schedule(conn, "nightly")
    make(conn)

    assert failed == ({"nightly": 3}, ["nightly"])
    assert (failures(conn).in_a_row, schedules.last_ticks(conn, ["nightly"])) == ({"nightly": 0}, {})


def test_forgets_the_ticks_of_a_deleted_schedule_and_keeps_the_last_of_the_new_one(conn, sql, at):
    fire_ten_days_ahead(conn, at)
    schedules.delete_schedule(conn, "nightly")
    at("01 12:00:00")
    make(conn)
    at("02 12:00:01")
    fire(conn)
    sql("UPDATE haulier.tick SET decided_at = now() - interval '31 days'")

    while purge_ticks(conn, retention_days=30):
        pass

    left = sql("SELECT schedule_id = (SELECT id FROM haulier.schedule), count(*) FROM haulier.tick GROUP BY 1")
    assert left == [(True, 10)]


def test_says_that_the_clock_was_set_back_while_nothing_fires_for_that(conn, sql, at):
    fire_ten_days_ahead(conn, at)
    decided = ticks(sql)
    at("01 15:00:01")
    sql("UPDATE haulier.schedule SET look_at = haulier.schedule_time()")

    fired = fire(conn)
    [reason, not_due] = unfired(conn, "nightly", retention_days=30).reasons()
    at("11 13:00:01")
    sql("UPDATE haulier.schedule SET look_at = haulier.schedule_time()")
    due, afterwards = codes(conn), fire(conn)

    assert (reason.code, not_due.code, fired) == (ScheduleCode.CLOCK_SET_BACK, ScheduleCode.NOT_DUE, 0)
    assert reason.until is not None
    assert f"{reason.until.astimezone(UTC):%d %H:%M}" == "11 12:00"
    assert (due, afterwards) == (["no_worker"], 1)
    assert ticks(sql)[:-1] == decided


# --- Races


OpenConn = Callable[[], Connection]


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


@pytest.fixture
def fast(sql, time):
    """Let 100 seconds of schedules pass in one of ours."""
    time(f"timestamptz '2026-11-27 12:00Z' + 100 * (now() - timestamptz '{sql('SELECT now()')[0][0]}')")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_loses_and_doubles_no_tick_of_a_schedule_that_is_changed_at_it(conn, sql, open_conn, times):
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
def test_fires_nothing_of_a_schedule_once_its_deletion_at_a_tick_was_answered(conn, sql, open_conn):
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


def test_locks_tables_in_the_order_of_schema_sql(conn, sql, open_conn):
    plant(sql, seconds_ago=60, every_seconds=20, overlap="skip")
    other = open_conn()
    sql("BEGIN; LOCK TABLE haulier.schedule IN SHARE MODE")
    with beside(lambda: fire_due(other, retention_days=30).fired) as fired:
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'haulier.schedule'::regclass"
        eventually(lambda: sql(waits) == [(1,)])
        # It has none of them yet; else each would wait for the other now.
        sql("SET LOCAL lock_timeout = '200ms'; LOCK TABLE haulier.tick, haulier.job IN SHARE MODE")
        sql("COMMIT")

    assert fired == [1]
    assert [outcome for outcome, _ in ticks(sql)] == ["fired", "skipped_overlap", "skipped_overlap"]


def test_skips_no_schedule_while_a_table_is_locked(step, sql, holding):
    plant(sql, seconds_ago=60, every_seconds=20)
    # As a migration that builds an index.
    with holding("LOCK TABLE haulier.job IN SHARE MODE"), bounded(seconds=5, lock_seconds=0.1):
        assert step.turn() == LOOK_SECONDS
    step.turn()

    assert [outcome for outcome, _ in ticks(sql)] == [TickOutcome.FIRED] * 3


def test_writes_a_bounded_amount_of_large_jobs_in_one_transaction(conn, sql):
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


def test_decides_one_tick_at_a_time_of_a_huge_job(conn, sql):
    plant(sql, seconds_ago=3, job={"kind": "mail", "payload": {"text": "x" * (BYTES_AT_ONCE + 1)}})

    assert [fire_due(conn, retention_days=30).fired for _ in range(3)] == [1, 1, 1]


def test_an_overlap_is_seen_by_the_next_to_fire(conn, sql, open_conn):
    with_skip = Rule(rule(0).job, every_seconds=1, overlap=Overlap.SKIP)
    put_schedule(conn, "nightly", with_skip, retention_days=30)
    sql(
        "UPDATE haulier.schedule"
        " SET decided_to = decided_to - interval '9 s', counts_from = counts_from - interval '9 s'"
    )
    with two_firers(open_conn):
        eventually(lambda: len(ticks(sql)) > 10)

    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]
