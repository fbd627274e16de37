"""Firing: each tick has one row and at most one job, whoever fires and dies, and whatever the clock does. It ..."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from psycopg2.extensions import connection as Connection

from haulier.postgres.statements import rows, transaction
from haulier.queue.schedules import fire as firing
from haulier.queue.schedules.fire import Fired, any_schedule, fire_due, next_look
from haulier.worker.steps.fire import LOCKED_SECONDS, LOOK_SECONDS
from tests.queue.schedules.schedules import Sql, plant, ticks
from tests.rivals import beside
from tests.worker.waiting import let_pass

FIRED, MISSED = "fired", "skipped_missed"


def fire(conn: Connection, **options: Any) -> Fired:
    return fire_due(conn, retention_days=30, **options)


def outcomes(sql: Sql, name: str = "nightly") -> list[str]:
    return [outcome for outcome, _ in ticks(sql, name)]


def test_fires_nothing_twice_and_says_when_the_next_is_due(conn, sql):
    plant(sql, seconds_ago=20, every_seconds=20)
    fire(conn)

    assert fire(conn) == Fired(0, 0, {})
    assert 0 < (next_look(conn) or 0) <= 20
    assert next_look(conn, passed_over=["nightly"]) is None
    assert any_schedule(conn)


def test_passes_over_what_another_decides_and_what_a_killed_one_had_decided_is_fired_once(conn, sql, open_conn):
    plant(sql, seconds_ago=60, every_seconds=20)
    other = open_conn()
    with pytest.raises(RuntimeError), transaction(other):
        assert fire(other).fired == 3
        assert fire(conn) == Fired(0, 0, {})
        raise RuntimeError("killed before the commit")

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert fire(conn).fired >= 3
    assert Counter(outcomes(sql)) == {FIRED: sql("SELECT count(*) FROM haulier.job")[0][0]}


def test_the_key_of_a_tick_is_a_second_guard(conn, sql):
    plant(sql, seconds_ago=60, every_seconds=20)
    before = "SELECT name, counts_from, decided_to, look_at FROM haulier.schedule"
    [(_, counts_from, decided_to, look_at)] = sql(before)
    fire(conn)
    # As a restored row, or one that somebody has changed by hand.
    sql("UPDATE haulier.schedule SET decided_to = %s, look_at = %s RETURNING 1", decided_to, look_at)

    fire(conn)

    assert counts_from == decided_to
    jobs = sql("SELECT scheduled_for FROM haulier.job")
    assert len(jobs) == len(set(jobs)) == len(ticks(sql)) >= 3


@pytest.mark.parametrize(("missed", "fired"), [("skip", 0), ("last", 1), ("all", 5)])
def test_after_a_month_of_outage_each_tick_has_its_row(conn, sql, time, missed, fired):
    bounds = {"missed_max": 5, "missed_within_seconds": 86_400} if missed == "all" else {}
    plant(sql, every_seconds=600, missed=missed, **bounds)
    time("now() + interval '20 days 5 minutes'")

    while fire(conn).decided:
        pass

    assert outcomes(sql) == [MISSED] * (20 * 144 - fired) + [FIRED] * fired
    assert sql("SELECT count(*) FROM haulier.job") == [(fired,)]


def test_fires_nothing_while_the_clock_is_behind_and_nothing_twice_afterwards(conn, sql, time):
    plant(sql, every_seconds=60, missed="skip")
    time("now() + interval '10 minutes 1 second'")
    fire(conn)
    before = ticks(sql)

    time("now() + interval '5 minutes'")
    sql("UPDATE haulier.schedule SET look_at = '2000-01-01' RETURNING 1")
    fire(conn)
    time("now() + interval '11 minutes 1 second'")
    sql("UPDATE haulier.schedule SET look_at = '2000-01-01' RETURNING 1")
    fire(conn)

    assert len(before) == 10
    assert ticks(sql)[:10] == before
    assert len(ticks(sql)) == 11


def test_a_zone_that_is_not_known_fails_alone(conn, sql):
    plant(sql, "bad", seconds_ago=60, every_seconds=20, time_zone="Mars/Olympus")
    plant(sql, "good", seconds_ago=60, every_seconds=20)

    fired = fire(conn)

    assert list(fired.failed) == ["bad"]
    assert fired.failed["bad"].startswith("time_zone: ")
    assert fired.fired == 3
    assert ticks(sql, "bad") == []
    assert sql(
        "SELECT name, refusals FROM haulier.schedule WHERE look_at > now() + interval '3 s' AND refusals > 0"
    ) == [("bad", 1)]


def test_says_what_became_of_ticks_and_how_late_they_fired(conn, sql, at):
    at("01 12:00")
    plant(sql, "plain", every_seconds=20)
    plant(sql, "pending", every_seconds=20, overlap="queue_one")
    plant(sql, "passes", every_seconds=20)
    sql("UPDATE haulier.schedule SET paused_since = counts_from WHERE name = 'passes'")
    at("01 12:00:40.5")

    found = fire(conn)
    sql("DELETE FROM haulier.job WHERE schedule = 'pending'")
    sql("UPDATE haulier.schedule SET look_at = now() WHERE name = 'pending'")
    later = fire(conn)

    assert Counter(found.outcomes) == {FIRED: 3, "skipped_paused": 2}
    assert sorted(found.late) == pytest.approx([0.5, 20.5, 20.5])
    # It waited for the job, and nobody was late.
    assert (later.outcomes, later.late) == ([FIRED], [])


def test_a_tick_that_waits_for_its_jitter_is_not_late_yet(conn, sql, time):
    plant(sql, every_seconds=20, jitter_seconds=20)
    time("(SELECT counts_from + interval '40 seconds' FROM haulier.schedule)")

    late = fire(conn).late

    [(after_the_tick,)] = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick LIMIT 1")
    assert after_the_tick == pytest.approx(20)
    assert 0 <= late[0] < 20


def test_looks_for_live_jobs_after_the_schedules_are_locked(conn, sql, open_conn):
    plant(sql, seconds_ago=20, every_seconds=20, overlap="skip")
    other = open_conn()
    with transaction(conn):
        assert fire(conn).fired == 1
        # It begins before this commits.
        with beside(lambda: fire(other)) as done:
            pass

    assert done == [Fired(0, 0, {})]
    assert firing.live_jobs(conn, ["nightly"]).keys() == {"nightly"}


def test_waits_a_moment_if_another_process_has_locked_all_that_is_due(step, sql, open_conn):
    plant(sql, seconds_ago=60, every_seconds=20)
    other = open_conn()
    with transaction(other):
        assert fire(other).fired == 3
        # Without it, it would ask as fast as it can until the other has committed or the server has missed it.
        assert step.turn() == LOCKED_SECONDS
    assert 0 < (step.turn() or 0) <= 1


def test_counts_the_ticks_that_fire_and_looks_on_until_no_schedule_is_left(step, sql, caplog):
    plant(sql, "bad", seconds_ago=60, every_seconds=20, job={"kind": "Not a name", "payload": {}})
    plant(sql, "good", seconds_ago=60, every_seconds=20)
    before = REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) or 0
    assert 0 <= (step.turn() or 0) <= 1
    assert (outcomes(sql, "good")[:3], outcomes(sql, "bad")) == ([FIRED] * 3, [])
    assert "the schedule bad cannot fire" in caplog.text
    assert REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) >= before + 3
    assert REGISTRY.get_sample_value("worker_ticks_late_seconds_count") >= 3
    sql("DELETE FROM haulier.schedule WHERE name = 'good'")
    # Only the refused one is left, which is put off; it is not as if there were none.
    assert step.turn() == LOOK_SECONDS
    sql("DELETE FROM haulier.schedule")
    assert step.turn() is None


# --- Turns


def test_decides_equal_schedules_once_and_each_other_one_by_itself(conn, sql, monkeypatch, at):
    # Schedules that are made in two seconds are not alike.
    at("10 12:34:56")
    alike = {"seconds_ago": 300, "every_seconds": 20}
    hourly = {"seconds_ago": 7300, "cron": "0 * * * *"}
    plant(sql, "a0", **alike)
    plant(sql, "b0", **hourly)
    others = [
        {**alike, "every_seconds": 30},
        {**alike, "seconds_ago": 310},
        {**alike, "missed": "skip"},
        {**alike, "missed": "all", "missed_max": 2, "missed_within_seconds": 200},
        {**alike, "missed": "all", "missed_max": 3, "missed_within_seconds": 200},
        {**alike, "missed": "all", "missed_max": 3, "missed_within_seconds": 90},
        {**alike, "paused_since": "2026-01-01Z"},
        {**alike, "paused_since": "2026-01-01Z", "paused_until": "2026-01-02Z"},
        {**alike, "overlap": "skip"},
        {**alike, "jitter_seconds": 20},
        {**hourly, "cron": "30 * * * *"},
        {**hourly, "cron": "0 */2 * * *"},
        {**hourly, "cron": "0 */2 * * *", "time_zone": "Asia/Kolkata"},
    ]
    for number, columns in enumerate(others):
        plant(sql, f"other{number}", **columns)
    plant(sql, "counted", **alike)
    sql("UPDATE haulier.schedule SET counts_from = counts_from - interval '7 s' WHERE name = 'counted'")
    # All else is theirs: the job, the name, and of a cron expression when it was made.
    plant(sql, "a1", job={"kind": "sms", "payload": {"n": 1}}, **alike)
    plant(sql, "b1", **hourly)
    sql("UPDATE haulier.schedule SET counts_from = counts_from - interval '1 year' WHERE name = 'b1'")
    decide, decided = firing.decide, []
    monkeypatch.setattr(firing, "decide", lambda one, *args, **rest: decided.append(one) or decide(one, *args, **rest))

    with transaction(conn):
        names = [name for (name,) in sql("SELECT name FROM haulier.schedule")]
        due = [rows(conn, "due_schedules", passed_over="{}", only_name=name, limit=1)[0] for name in names]
        fire(conn)

    now = due[0]["now"]
    alone = {row["name"]: decide(firing.schedule_of(row), now, is_busy=False, keep=timedelta(days=30)) for row in due}
    assert len(due) == len(others) + 5
    assert {one.name for one in decided} >= {f"other{number}" for number in range(len(others))}
    assert len(decided) == len(others) + 3
    written = sql("SELECT schedule, scheduled_at, outcome FROM haulier.tick")
    assert sorted(written) == sorted((name, *tick) for name, each in alone.items() for tick in each.ticks)
    assert sorted(sql("SELECT name, decided_to, next_at, look_at FROM haulier.schedule")) == sorted(
        (name, each.decided_to, each.next_at, each.look_at) for name, each in alone.items()
    )


def test_equal_schedules_far_behind_share_the_room_of_one_transaction(conn, sql, at, monkeypatch):
    at("01 12:00:00.5")
    monkeypatch.setattr(firing, "TICKS_AT_ONCE", 50)
    for name in "abc":
        plant(sql, name, seconds_ago=20, missed="skip")

    turns = [fire(conn) for _ in range(3)]

    # 20 of two of them, and 10 of the third; then what is left of that.
    assert [(each.decided, each.fired, each.has_more) for each in turns] == [
        (3, 50, True),
        (1, 10, False),
        (0, 0, False),
    ]
    assert [len(ticks(sql, name)) for name in "abc"] == [20, 20, 20]


def test_says_whether_more_is_due(conn, sql, monkeypatch):
    plant(sql, "a", seconds_ago=30, every_seconds=20)
    plant(sql, "b", seconds_ago=30, every_seconds=20)
    monkeypatch.setattr(firing, "AT_ONCE", 2)

    assert fire(conn).has_more
    assert not fire(conn).has_more
    plant(sql, "behind", seconds_ago=1500, missed="skip")
    assert fire(conn).has_more
    assert len(ticks(sql, "behind")) == 1000
    assert not fire(conn).has_more
    # The last one has no room.
    monkeypatch.setattr(firing, "TICKS_AT_ONCE", 3)
    plant(sql, "c", seconds_ago=70, every_seconds=20)
    plant(sql, "d", seconds_ago=30, every_seconds=20)
    monkeypatch.setattr(firing, "AT_ONCE", 10)
    found = fire(conn, passed_over=["a", "b", "behind"])
    assert (found.decided, found.fired, found.has_more) == (1, 3, True)


@pytest.fixture
def looks(monkeypatch):
    """Give a list of what the database has answered, each time that it was asked when something is due."""
    seen: list[float | None] = []
    ask = firing.next_look

    def noted(*args, **options):
        seen.append(ask(*args, **options))
        return seen[-1]

    monkeypatch.setattr(firing, "next_look", noted)
    return seen


def test_goes_on_at_once_and_without_asking_if_more_is_due_than_one_turn_decides(step, looks, sql, monkeypatch):
    monkeypatch.setattr(firing, "AT_ONCE", 2)
    for number in range(5):
        plant(sql, f"s{number}", seconds_ago=30, every_seconds=20)

    turns = [step.turn() for _ in range(3)]

    assert turns[:2] == [0.0, 0.0]
    assert 0 < (turns[2] or 0) <= LOOK_SECONDS
    assert sql("SELECT count(*) FROM haulier.tick") == [(5,)]
    # Before the first turn, and after the last one.
    assert len(looks) == 2


def test_fires_what_it_has_waited_for_without_asking_again(step, looks, sql):
    plant(sql, seconds_ago=0)
    seconds = step.turn()
    before = len(ticks(sql))
    looks.clear()
    let_pass(seconds or 0)

    assert step.turn() is not None
    assert len(ticks(sql)) > before
    assert len(looks) == 1

    sql("UPDATE haulier.schedule SET look_at = '2100-01-01'")
    looks.clear()
    assert [step.turn() for _ in range(2)] == [LOOK_SECONDS] * 2
    # Once after it found nothing, and once before it would.
    assert [seconds is not None and seconds > LOOK_SECONDS for seconds in looks] == [True, True]


def test_asks_first_once_others_have_fired_what_was_locked(step, looks, open_conn, sql, monkeypatch):
    plant(sql, seconds_ago=30, every_seconds=20)
    step._is_due = True
    other = open_conn()
    with transaction(other):
        fire(other)
        assert step.turn() == LOCKED_SECONDS
    assert len(looks) == 1
    monkeypatch.setattr(firing, "fire_due", None)

    assert 0 < (step.turn() or 0) <= LOOK_SECONDS


def test_looks_once_a_second_and_fires_nothing_while_nothing_is_due(step, looks, sql, monkeypatch):
    plant(sql, every_seconds=3600)
    step.turn()
    looks.clear()
    monkeypatch.setattr(firing, "fire_due", None)

    assert [step.turn() for _ in range(3)] == [LOOK_SECONDS] * 3

    assert len(looks) == 3
