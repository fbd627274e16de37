"""What one turn of firing decides: equal schedules once, and no more than it has room for. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres.statements import rows, transaction
from haulier.queue.schedules import fire as firing
from haulier.queue.schedules.fire import Fired
from tests.queue.schedules.schedules import Sql, plant, set_time, ticks


def fire(conn: Connection, **options: list[str]) -> Fired:
    return firing.fire_due(conn, retention_days=30, **options)  # type: ignore[arg-type]


@pytest.fixture
def at_noon(sql: Sql) -> Iterator[None]:
    """Let the time by which schedules go stand still."""
    set_time(sql, "timestamptz '2026-11-27 12:00:00.5Z'")
    yield
    set_time(sql)


def test_decides_equal_schedules_once_and_each_other_one_by_itself(
    conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.usefixtures("at_noon")
def test_equal_schedules_far_behind_share_the_room_of_one_transaction(
    conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_says_whether_more_is_due(conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(sql, "a", seconds_ago=30, every_seconds=20)
    plant(sql, "b", seconds_ago=30, every_seconds=20)
    monkeypatch.setattr(firing, "AT_ONCE", 2)

    assert fire(conn).has_more
    assert not fire(conn).has_more
    plant(sql, "behind", seconds_ago=1500, missed="skip")
    assert fire(conn).has_more
    assert not fire(conn).has_more
    # The last one has no room.
    monkeypatch.setattr(firing, "TICKS_AT_ONCE", 3)
    plant(sql, "c", seconds_ago=70, every_seconds=20)
    plant(sql, "d", seconds_ago=30, every_seconds=20)
    monkeypatch.setattr(firing, "AT_ONCE", 10)
    found = fire(conn, passed_over=["a", "b", "behind"])
    assert (found.decided, found.fired, found.has_more) == (1, 3, True)
