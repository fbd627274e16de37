"""Schedules whose jobs the database refuses: they keep no other from firing, and are put off. It ..."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.schedules.schedule import Missed, Rule
from haulier.postgres.connection import connect
from haulier.postgres.statements import bounded
from haulier.queue.schedules import schedules
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.recompute import recompute
from haulier.queue.schedules.schedule_file import apply_file
from haulier.queue.upkeep.purge import purge_ticks
from haulier.worker.steps.fire import LOOK_SECONDS, Firing
from tests.conftest import sql_on
from tests.queue.schedules.schedules import HEALTHY, REFUSED, SQLSTATES, Sql, plant, refused, ticks, tries

OVER_AND_OVER = [5, 60, 120, 180, 240, 300, 300]


def plant_all(sql: Sql, good: int, *, bad: str = "bad", bad_ones: int = 1, **columns: Any) -> None:
    """Add schedules that are refused and then this many that are not."""
    for number in range(bad_ones):
        plant(sql, f"{bad}{number or ''}", seconds_ago=21, every_seconds=20, **(columns or REFUSED))
    for number in range(good):
        plant(sql, f"good{number}", seconds_ago=20, every_seconds=20, **HEALTHY)


def turn_until_all_is_tried(step: Firing, sql: Sql) -> None:
    """Let it take turns while something is due, and fail if that does not end."""
    for _ in range(20):
        step.turn()
        if sql("SELECT count(*) FROM haulier.schedule WHERE look_at <= haulier.schedule_time()") == [(0,)]:
            return
    raise AssertionError("something is due for ever")


def refusals(sql: Sql) -> list[tuple[Any, ...]]:
    return sql("SELECT name, refusals, refusal FROM haulier.schedule WHERE refusals > 0 ORDER BY name")


def look_now(sql: Sql) -> None:
    sql("UPDATE haulier.schedule SET look_at = haulier.schedule_time()")


@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "at the commit"])
def test_fires_all_but_the_one_of_a_hundred_that_is_refused(steps, sql, deferred):
    for state in SQLSTATES:
        plant_all(sql, good=99)

        with refused(sql, state, deferred=deferred):
            turn_until_all_is_tried(steps(), sql)

        assert sql("SELECT outcome, count(*) FROM haulier.tick GROUP BY 1") == [("fired", 99)], state
        assert refusals(sql) == [("bad", 1, "no such customer")], state
        sql("DELETE FROM haulier.schedule; DELETE FROM haulier.tick; DELETE FROM haulier.job")


@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "at the commit"])
def test_puts_all_off_if_all_are_refused(steps, sql, deferred):
    for state in SQLSTATES:
        step = steps()
        plant_all(sql, good=0, bad_ones=30)

        with refused(sql, state, deferred=deferred):
            turn_until_all_is_tried(step, sql)
            before = tries(sql)
            assert step.turn() == LOOK_SECONDS
            assert tries(sql) == before, state

        assert [times for _, times, _ in refusals(sql)] == [1] * 30, state
        assert sql("SELECT count(*) FROM haulier.tick") == [(0,)]
        sql("DELETE FROM haulier.schedule")


def test_tries_more_rarely_each_time_but_at_least_every_five_minutes(step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    waits = []
    with refused(sql):
        for _ in OVER_AND_OVER:
            look_now(sql)
            step.turn()
            waits += sql("SELECT round(extract(epoch FROM look_at - now())) FROM haulier.schedule")

    assert [int(seconds) for (seconds,) in waits] == OVER_AND_OVER


def test_tries_soon_again_what_may_pass_by_itself(step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql, "40001"):
        for _ in range(3):
            look_now(sql)
            step.turn()

    assert sql("SELECT refusals, look_at < now() + interval '6 s' FROM haulier.schedule") == [(1, True)]


def test_no_other_or_later_worker_tries_what_is_put_off(steps, sql):
    plant_all(sql, good=1)
    with refused(sql):
        steps().turn()
        before = tries(sql)
        for number in range(1, 4):
            plant(sql, f"good{number}", seconds_ago=20, every_seconds=20, **HEALTHY)
            steps().turn()

        assert tries(sql) == before
    assert sql("SELECT count(*) FROM haulier.tick WHERE outcome = 'fired'") == [(4,)]


def test_fires_at_its_next_try_and_forgets_that_it_was_refused(steps, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        steps().turn()
    look_now(sql)

    steps().turn()

    assert [outcome for outcome, _ in ticks(sql)] == ["fired"]
    assert sql("SELECT refusals, refused_since, refusal FROM haulier.schedule") == [(0, None, None)]


def test_a_run_by_hand_that_succeeds_ends_the_wait(conn, step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        step.turn()

    schedules.run_schedule(conn, "nightly")
    step.turn()

    assert [outcome for outcome, _ in ticks(sql)] == ["fired", "fired"]
    assert refusals(sql) == []


def test_no_correction_of_the_next_ticks_ends_the_wait(conn, step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        step.turn()
    recompute(conn)
    before = sql("SELECT look_at, next_at FROM haulier.schedule")

    assert recompute(conn).corrected == []
    assert sql("SELECT look_at, next_at FROM haulier.schedule") == before
    assert sql("SELECT look_at > now() FROM haulier.schedule") == [(True,)]


@pytest.mark.parametrize("missed", list(Missed))
def test_distinguishes_refused_ticks_from_those_missed_without_a_worker(step, sql, at, missed):
    bounds = {"missed_max": 3, "missed_within_seconds": 86_400} if missed is Missed.ALL else {}
    at("01 12:00")
    plant(sql, every_seconds=60, missed=missed, **bounds, **REFUSED)
    # Five ticks, of which one is a minute old at most, before a worker looks.
    at("01 12:05:01")
    with refused(sql):
        step.turn()
        at("01 12:10:01")
        look_now(sql)
        step.turn()
    look_now(sql)
    turn_until_all_is_tried(step, sql)

    found = [outcome for outcome, _ in ticks(sql)]
    fired = {Missed.SKIP: 1, Missed.LAST: 1, Missed.ALL: 4}[missed]
    assert found == (["skipped_missed"] * 4 + ["skipped_refused"] * 6)[: 10 - fired] + ["fired"] * fired


def test_lets_the_ticks_of_a_paused_one_pass_without_a_refusal(conn, step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        step.turn()
        schedules.pause_schedule(conn, "nightly")
        look_now(sql)
        step.turn()

    assert [outcome for outcome, _ in ticks(sql)] == ["skipped_paused"]
    assert refusals(sql) == []


def test_decides_thousands_of_ticks_although_the_last_is_refused(step, sql, at):
    at("01 12:00")
    plant(sql, every_seconds=1, **REFUSED)
    at("01 12:00:01.5")
    with refused(sql):
        step.turn()
        at("01 13:00:00.5")
        look_now(sql)
        turn_until_all_is_tried(step, sql)
        decided = Counter(outcome for outcome, _ in ticks(sql))
        [(_, times, _)] = refusals(sql)
    look_now(sql)
    turn_until_all_is_tried(step, sql)

    # The rest is not known before the last one fires.
    assert decided == {"skipped_refused": 3000}
    assert times == 2
    assert Counter(outcome for outcome, _ in ticks(sql)) == {"skipped_refused": 3540, "fired": 60}


def test_the_roles_of_a_worker_and_of_the_api_may_put_off_and_fire(roles, super_conn):
    sql = sql_on(super_conn)
    for name, url in (("of_worker", roles.worker), ("of_web", roles.web)):
        plant(sql, name, seconds_ago=20, every_seconds=20, **REFUSED)
        plant(sql, f"{name}_too", seconds_ago=20, every_seconds=20, **HEALTHY)
        with closing(connect(url)) as conn:
            with refused(sql):
                fired = fire_due(conn, retention_days=30, apart=1)
            sql("UPDATE haulier.schedule SET look_at = now() WHERE refusals > 0")
            again = fire_due(conn, retention_days=30)
            assert name == "of_web" or purge_ticks(conn, retention_days=30) == 0
        assert (list(fired.failed), fired.fired, fired.stuck, again.fired) == ([name], 1, set(), 1)


def put(conn: Connection, source: str, rule: Rule) -> None:
    if source == "file":
        apply_file(conn, {"nightly": rule}, retention_days=30)
    else:
        schedules.put_schedule(conn, "nightly", rule, retention_days=30)


@pytest.mark.parametrize(("source", "deferred"), [("api", False), ("file", True)])
def test_changes_a_schedule_whose_due_ticks_are_refused(conn, step, sql, at, source, deferred):
    at("01 12:00")
    put(conn, source, Rule(REFUSED["job"], every_seconds=20))
    at("01 12:00:21")
    with refused(sql, "MY001", deferred=deferred):
        step.turn()
        [(_, times, _)] = refusals(sql)
        put(conn, source, Rule(HEALTHY["job"], every_seconds=20))
        changed = [outcome for outcome, _ in ticks(sql)], refusals(sql)
        at("01 12:00:41")
        turn_until_all_is_tried(step, sql)

    assert times == 1
    assert changed == (["skipped_refused"], [])
    assert [outcome for outcome, _ in ticks(sql)] == ["skipped_refused", "fired"]


def test_a_trigger_that_takes_longer_than_a_statement_may_keeps_no_other(step, sql):
    plant_all(sql, good=20, bad="slow")
    with refused(sql, does="BEGIN PERFORM pg_sleep(60); RETURN NEW; END"), bounded(seconds=1, lock_seconds=1):
        turn_until_all_is_tried(step, sql)

    assert sql("SELECT outcome, count(*) FROM haulier.tick GROUP BY 1") == [("fired", 20)]
    assert refusals(sql) == [("slow", 1, "canceling statement due to statement timeout")]


def test_triggers_that_are_all_slow_let_some_fire_in_each_turn(step, sql):
    plant_all(sql, good=0, bad_ones=10)
    with refused(sql, does="BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END"), bounded(seconds=3, lock_seconds=3):
        step.turn()

    [(fired,)] = sql("SELECT count(*) FROM haulier.tick")
    assert 1 <= fired <= 4
    assert refusals(sql) == []


def test_a_schedule_whose_row_cannot_be_changed_keeps_no_other(step, sql):
    plant_all(sql, good=20, **HEALTHY)
    sql("ALTER TABLE haulier.schedule ADD CONSTRAINT not_bad CHECK (name <> 'bad') NOT VALID")
    try:
        for _ in range(3):
            step.turn()
        assert step.turn() == LOOK_SECONDS
    finally:
        sql("ALTER TABLE haulier.schedule DROP CONSTRAINT not_bad")

    assert sql("SELECT outcome, count(*) FROM haulier.tick GROUP BY 1") == [("fired", 20)]


def test_a_job_that_a_trigger_leaves_out_counts_as_refused(step, sql):
    plant_all(sql, good=1)
    with refused(sql, does="BEGIN RETURN NULL; END"):
        step.turn()

    assert refusals(sql) == [("bad", 1, "a trigger on haulier.job dropped the job")]
    assert sql("SELECT schedule, outcome FROM haulier.tick") == [("good0", "fired")]


def test_does_not_keep_a_value_that_a_trigger_could_not_read(step, sql):
    plant(sql, seconds_ago=20, every_seconds=20, job={"kind": "mail", "payload": {"refused": "4111 1111"}})
    with refused(sql, does="DECLARE number integer := NEW.payload ->> 'refused'; BEGIN RETURN NEW; END"):
        step.turn()

    assert refusals(sql) == [("nightly", 1, "a value does not fit (SQLSTATE 22P02)")]


def test_writes_of_two_alike_only_what_the_database_accepts(conn, sql):
    # Of one decision for both.
    plant(sql, "bad", seconds_ago=60, every_seconds=20, **REFUSED)
    plant(sql, "good", seconds_ago=60, every_seconds=20, **HEALTHY)
    with refused(sql):
        fired = fire_due(conn, retention_days=30, apart=1)

    assert (fired.decided, fired.fired, list(fired.failed), fired.has_more) == (1, 3, ["bad"], False)
    assert len(fired.late) == 3
    assert sql("SELECT DISTINCT schedule FROM haulier.job") == [("good",)]
