"""Applying schedules.toml: all of it or nothing, and each tick once, whoever else applies, calls and fires. It ..."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import Locked, ScheduleBehind, ScheduleOfApi, ScheduleOfFile, SchemaMismatch
from haulier.domain.schedules.schedule import Missed, Rule
from haulier.postgres.connection import connect
from haulier.queue.schedules import schedule_file
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.schedule_file import Action, apply_file, plan_file
from haulier.queue.schedules.schedules import put_schedule
from tests.conftest import eventually, sql_on
from tests.queue.schedules.schedules import plant, ticks
from tests.rivals import beside, connected

ROUNDS = 15


def rule(kind: str = "mail", **fields: object) -> Rule:
    return Rule(**{"job": {"kind": kind, "payload": {}}, "every_seconds": 1, **fields})


def apply(conn: Connection, wanted: dict[str, Rule]) -> dict[str, Action]:
    return {step.name: step.action for step in apply_file(conn, wanted, retention_days=30)}


def test_two_equal_files_at_once_are_applied_once(at_once, sql):
    for number in range(ROUNDS):
        wanted = {"a": rule(f"k{number}"), "b": rule(f"k{number}"), f"c{number}": rule()}
        assert not any(isinstance(each, Exception) for each in at_once(2, lambda _, conn, w=wanted: apply(conn, w)))

    record = sql("SELECT action, target, count(*) FROM haulier.audit GROUP BY 1, 2 ORDER BY 1, 2")
    assert {row[:2]: row[2] for row in record if row[1] in "ab"} == {
        ("put_schedule", "a"): ROUNDS,
        ("put_schedule", "b"): ROUNDS,
    }
    assert {count for *_, count in record if count != ROUNDS} == {1}
    assert sql("SELECT name FROM haulier.schedule ORDER BY name") == [("a",), ("b",), (f"c{ROUNDS - 1}",)]


def test_of_two_files_at_once_one_holds_as_a_whole_and_loses_no_tick(at_once, conn, sql, time):
    [(begin,)] = sql("SELECT date_trunc('second', now())")

    def clock(seconds: float) -> None:
        time(f"'{begin.isoformat()}'::timestamptz + interval '{seconds} seconds'")

    clock(0)
    apply(conn, {"both": rule("before")})
    one = {"both": rule("one"), "x": rule("one"), "y": rule("one")}
    other = {"both": rule("other"), "x": rule("other"), "z": rule("other")}
    acts = [lambda conn: apply(conn, one), lambda conn: apply(conn, other), partial(fire_due, retention_days=30)]
    for number in range(1, ROUNDS + 1):
        clock(number * 2 + 0.5)
        assert not any(isinstance(each, Exception) for each in at_once(3, lambda place, conn: acts[place](conn)))
        found = dict(sql("SELECT name, job ->> 'kind' FROM haulier.schedule"))
        assert found in [{name: each.job["kind"] for name, each in file.items()} for file in (one, other)]
    fire_due(conn, retention_days=30)

    last = ROUNDS * 2
    assert sql("SELECT count(*), count(DISTINCT job_id) FROM haulier.tick WHERE schedule = 'both'") == [(last, last)]
    assert sql("SELECT count(*), count(DISTINCT scheduled_for) FROM haulier.job WHERE schedule = 'both'") == [
        (last, last)
    ]
    assert sql(
        "SELECT extract(epoch FROM min(scheduled_at) - %s)::int, extract(epoch FROM max(scheduled_at) - %s)::int"
        " FROM haulier.tick WHERE schedule = 'both' AND outcome = 'fired'",
        begin,
        begin,
    ) == [(1, last)]
    assert sql("SELECT 1 FROM haulier.job GROUP BY schedule, scheduled_for HAVING count(*) > 1") == []


WAITS = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"


def test_does_nothing_if_the_api_makes_such_a_schedule_meanwhile(database, sql):
    files = connected(database, lambda other: apply(other, {"a": rule(), "nightly": rule()}), name="applies")

    with closing(connect(database)) as api:
        begun = sql_on(api)
        begun("BEGIN")
        plant(begun)
        with beside(files) as raised:
            eventually(lambda: sql(WAITS, "applies"))
            begun("COMMIT")

    assert isinstance(raised[0], ScheduleOfApi)
    assert "schedule nightly was created through the API" in str(raised[0])
    assert sql("SELECT name, source FROM haulier.schedule") == [("nightly", "api")]
    assert sql("SELECT 1 FROM haulier.audit") == []


def test_a_call_of_the_api_waits_and_finds_that_it_is_the_files(database, conn, sql):
    of_api = rule("of-the-api")
    call = connected(database, lambda other: put_schedule(other, "nightly", of_api, retention_days=30), name="calls")

    with conn.cursor() as cursor, closing(connect(database)) as looking:
        cursor.execute("BEGIN")
        # Within this transaction.
        apply(conn, {"nightly": rule()})
        with beside(call) as raised:
            eventually(lambda: sql_on(looking)(WAITS, "calls"))
            cursor.execute("COMMIT")

    assert isinstance(raised[0], ScheduleOfFile)
    assert str(raised[0]) == "schedule nightly comes from schedules.toml: change it there"
    assert sql("SELECT job ->> 'kind', source FROM haulier.schedule") == [("mail", "file")]


def test_decides_thousands_of_undecided_ticks_before_a_change(conn, sql, monkeypatch):
    monkeypatch.setattr(schedule_file, "MOST_BATCHES", 2)
    plant(sql, seconds_ago=4500, missed="skip", source="file")

    assert apply(conn, {"nightly": rule("new", missed=Missed.SKIP)}) == {"nightly": Action.CHANGE}

    assert 4500 <= len(ticks(sql)) <= 4510
    assert sql("SELECT job ->> 'kind' FROM haulier.schedule") == [("new",)]


def test_gives_up_if_others_hold_the_ticks_that_are_due(conn, sql, monkeypatch):
    monkeypatch.setattr(schedule_file, "MOST_BATCHES", 0)
    plant(sql, seconds_ago=5, source="file")

    with pytest.raises(ScheduleBehind):
        apply(conn, {"nightly": rule("new")})

    assert sql("SELECT job ->> 'kind' FROM haulier.schedule") == [("mail",)]


def test_takes_turns_with_a_migration_and_says_so_if_that_lasts(holding, conn, monkeypatch):
    monkeypatch.setattr(schedule_file, "MIGRATE_LOCK_SECONDS", 0.2)
    with holding("LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE"):
        with pytest.raises(Locked, match="nothing was changed: run the command again"):
            apply(conn, {"nightly": rule()})
        # Nobody waits to look.
        assert [step.action for step in plan_file(conn, {"nightly": rule()})] == [Action.CREATE]

    assert apply(conn, {"nightly": rule()}) == {"nightly": Action.CREATE}


def test_the_programs_fire_see_and_steer_what_the_owner_has_applied(roles, super_conn):
    with closing(connect(roles.owner)) as owner, closing(connect(roles.worker)) as worker:
        apply(owner, {"nightly": rule(), "other": rule()})
        look = sql_on(super_conn)
        look(
            "UPDATE haulier.schedule"
            " SET decided_to = decided_to - interval '3 s', counts_from = counts_from - interval '3 s'"
        )
        fire_due(worker, retention_days=30)
        assert apply(owner, {"nightly": rule("new")}) == {"nightly": Action.CHANGE, "other": Action.REMOVE}
        fired = look("SELECT count(*) FROM haulier.tick WHERE outcome = 'fired'")
        with closing(connect(roles.web)) as web:
            for refused in (lambda: apply(web, {}), lambda: apply(worker, {})):
                with pytest.raises(SchemaMismatch, match="lacks a right"):
                    refused()
            assert [step.action for step in plan_file(web, {})] == [Action.REMOVE]
            with pytest.raises(ScheduleOfFile):
                put_schedule(web, "nightly", rule(), retention_days=30)

    assert fired[0][0] >= 6
