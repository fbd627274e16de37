"""A schedule that is made again after it was deleted, and one after whose ticks the clock was set back. It ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.schedules.schedule import Missed, Rule
from haulier.domain.schedules.schedule_waiting import ScheduleCode
from haulier.queue.schedules import schedules
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.schedule_health import failures, unfired
from haulier.queue.upkeep.purge import purge_ticks
from tests.queue.filling import copy_to_history
from tests.queue.schedules.schedules import HEALTHY, Sql, set_time, ticks

# Each tick fires, however late.
ALL = {"missed": Missed.ALL, "missed_max": 1000, "missed_within_seconds": 31_536_000}
RULE = Rule(HEALTHY["job"], every_seconds=3600, **ALL)


@pytest.fixture
def at(sql: Sql) -> Iterator[Callable[[str], None]]:
    """Give a function that sets the time by which schedules go: the day of a month, and the time."""
    yield lambda clock: set_time(sql, f"timestamptz '2030-01-{clock}Z'")
    set_time(sql)


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
def test_fires_what_is_made_again_at_times_that_were_decided_before(
    conn: Connection, sql: Sql, at: Callable[[str], None], deleted_at: str
) -> None:
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


def test_lists_the_ticks_of_a_deleted_schedule_behind_those_of_the_new_one(
    conn: Connection, at: Callable[[str], None]
) -> None:
    at("01 12:00:00")
    make(conn)
    at("01 15:00:01")
    fire(conn)
    schedules.delete_schedule(conn, "nightly")
    at("01 13:00:00")
    make(conn)
    at("01 16:00:01")
    fire(conn)

    seen, before = [], None
    for _ in range(6):
        [tick], has_more = schedules.list_ticks(conn, "nightly", before=before, limit=1)
        seen.append(tick.scheduled_at.hour)
        before = (tick.scheduled_at, tick.schedule_id)

    assert (seen, has_more) == ([16, 15, 14, 15, 14, 13], False)


def test_runs_by_hand_what_is_made_again_at_an_instant_at_which_it_ran_before(
    conn: Connection, sql: Sql, at: Callable[[str], None]
) -> None:
    at("01 12:00:00")
    jobs = []
    for _ in range(2):
        make(conn)
        jobs.append(schedules.run_schedule(conn, "nightly"))
        schedules.delete_schedule(conn, "nightly")

    assert sorted(jobs) == sorted(job for (job,) in sql("SELECT id FROM haulier.job"))


def test_a_new_schedule_has_no_last_tick_and_no_failures_of_the_deleted_one(
    conn: Connection, sql: Sql, at: Callable[[str], None]
) -> None:
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


def test_forgets_the_ticks_of_a_deleted_schedule_and_keeps_the_last_of_the_new_one(
    conn: Connection, sql: Sql, at: Callable[[str], None]
) -> None:
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


def test_says_that_the_clock_was_set_back_while_nothing_fires_for_that(
    conn: Connection, sql: Sql, at: Callable[[str], None]
) -> None:
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
