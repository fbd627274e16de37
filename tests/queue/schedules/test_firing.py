"""Firing: each tick has one row and at most one job, whoever fires and dies, and whatever the clock does. It ..."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from psycopg2.extensions import connection as Connection

from haulier.postgres.pool import Database
from haulier.postgres.statements import transaction
from haulier.queue.schedules import fire as firing
from haulier.queue.schedules.fire import Fired, any_schedule, fire_due, next_look
from haulier.queue.upkeep.purge import purge_ticks
from haulier.worker.link.outage import Outage
from haulier.worker.steps.fire import LOCKED_SECONDS, LOOK_SECONDS, Firing
from tests.queue.schedules.schedules import Sql, plant, set_time, ticks
from tests.rivals import beside

FIRED, MISSED = "fired", "skipped_missed"


def fire(conn: Connection, **options: Any) -> Fired:
    return fire_due(conn, retention_days=30, **options)


def outcomes(sql: Sql, name: str = "nightly") -> list[str]:
    return [outcome for outcome, _ in ticks(sql, name)]


@pytest.fixture
def time(sql: Sql) -> Iterator[Callable[[str], None]]:
    """Give a function that moves the time by which schedules go."""
    yield lambda expression: set_time(sql, expression)
    set_time(sql)


def test_fires_nothing_twice_and_says_when_the_next_is_due(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=20, every_seconds=20)
    fire(conn)

    assert fire(conn) == Fired(0, 0, {})
    assert 0 < (next_look(conn) or 0) <= 20
    assert next_look(conn, passed_over=["nightly"]) is None
    assert any_schedule(conn)


def test_two_that_fire_at_once_share_the_schedules(
    conn: Connection, sql: Sql, at_once: Callable[..., list[Any]]
) -> None:
    for number in range(30):
        plant(sql, f"s{number}", seconds_ago=4)

    done = at_once(4, lambda _, mine: fire(mine))

    assert [each for each in done if isinstance(each, Exception)] == []
    assert sum(each.fired for each in done) >= 120
    doubled = "SELECT count(*), count(DISTINCT (schedule, scheduled_for)) FROM haulier.job"
    [(jobs, distinct)] = sql(doubled)
    assert jobs == distinct == sql("SELECT count(*) FROM haulier.tick")[0][0]


def test_passes_over_what_another_decides_and_what_a_killed_one_had_decided_is_fired_once(
    conn: Connection, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    other = open_conn()
    with pytest.raises(RuntimeError), transaction(other):
        assert fire(other).fired == 3
        assert fire(conn) == Fired(0, 0, {})
        raise RuntimeError("killed before the commit")

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert fire(conn).fired >= 3
    assert Counter(outcomes(sql)) == {FIRED: sql("SELECT count(*) FROM haulier.job")[0][0]}


def test_the_key_of_a_tick_is_a_second_guard(conn: Connection, sql: Sql) -> None:
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
def test_after_a_month_of_outage_each_tick_has_its_row(
    conn: Connection, sql: Sql, time: Callable[[str], None], missed: str, fired: int
) -> None:
    bounds = {"missed_max": 5, "missed_within_seconds": 86_400} if missed == "all" else {}
    plant(sql, every_seconds=600, missed=missed, **bounds)
    time("now() + interval '20 days 5 minutes'")

    while fire(conn).decided:
        pass

    assert outcomes(sql) == [MISSED] * (20 * 144 - fired) + [FIRED] * fired
    assert sql("SELECT count(*) FROM haulier.job") == [(fired,)]


def test_fires_nothing_while_the_clock_is_behind_and_nothing_twice_afterwards(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
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


def test_a_zone_that_is_not_known_fails_alone(conn: Connection, sql: Sql) -> None:
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


def test_keeps_the_last_ticks_of_a_schedule_and_none_of_a_deleted_one(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=15)
    plant(sql, "gone", seconds_ago=15)
    fire(conn)
    sql("UPDATE haulier.tick SET decided_at = now() - interval '31 days' RETURNING 1")
    sql("DELETE FROM haulier.schedule WHERE name = 'gone' RETURNING 1")
    newest = ticks(sql)[-10:]

    assert purge_ticks(conn, retention_days=30) >= 20
    assert purge_ticks(conn, retention_days=30) == 0

    assert ticks(sql) == newest
    assert ticks(sql, "gone") == []


def test_says_what_became_of_ticks_and_how_late_they_fired(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, "plain", every_seconds=20)
    plant(sql, "pending", every_seconds=20, overlap="queue_one")
    plant(sql, "passes", every_seconds=20)
    sql("UPDATE haulier.schedule SET paused_since = counts_from WHERE name = 'passes'")
    time("(SELECT min(counts_from) + interval '40.5 seconds' FROM haulier.schedule)")

    found = fire(conn)
    sql("DELETE FROM haulier.job WHERE schedule = 'pending'")
    sql("UPDATE haulier.schedule SET look_at = now() WHERE name = 'pending'")
    later = fire(conn)

    assert Counter(found.outcomes) == {FIRED: 3, "skipped_paused": 2}
    assert sorted(found.late) == pytest.approx([0.5, 20.5, 20.5])
    # It waited for the job, and nobody was late.
    assert (later.outcomes, later.late) == ([FIRED], [])


def test_a_tick_that_waits_for_its_jitter_is_not_late_yet(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, every_seconds=20, jitter_seconds=20)
    time("(SELECT counts_from + interval '40 seconds' FROM haulier.schedule)")

    late = fire(conn).late

    [(after_the_tick,)] = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick LIMIT 1")
    assert after_the_tick == pytest.approx(20)
    assert 0 <= late[0] < 20


def test_looks_for_live_jobs_after_the_schedules_are_locked(
    conn: Connection, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=20, every_seconds=20, overlap="skip")
    other = open_conn()
    with transaction(conn):
        assert fire(conn).fired == 1
        # It begins before this commits.
        with beside(lambda: fire(other)) as done:
            pass

    assert done == [Fired(0, 0, {})]
    assert firing.live_jobs(conn, ["nightly"]).keys() == {"nightly"}


def test_decides_a_schedule_far_behind_bit_by_bit_beside_the_others(conn: Connection, sql: Sql) -> None:
    plant(sql, "behind", seconds_ago=5000, missed="skip")
    fire(conn)
    behind = len(ticks(sql, "behind"))
    plant(sql, "fresh", seconds_ago=2)

    fire(conn)
    fire(conn)

    assert behind == 1000
    assert outcomes(sql, "fresh")[:2] == [FIRED, FIRED]
    assert len(ticks(sql, "behind")) <= 3000


def test_waits_a_moment_if_another_process_has_locked_all_that_is_due(
    database: str, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    other = open_conn()
    try:
        with transaction(other):
            assert fire(other).fired == 3
            # Without it, it would ask as fast as it can until the other has committed or the server has missed it.
            assert step.turn() == LOCKED_SECONDS
        assert 0 < (step.turn() or 0) <= 1
    finally:
        step.database.close()


def test_counts_the_ticks_that_fire_and_looks_on_until_no_schedule_is_left(database: str, sql: Sql) -> None:
    plant(sql, "bad", seconds_ago=60, every_seconds=20, job={"kind": "Not a name", "payload": {}})
    plant(sql, "good", seconds_ago=60, every_seconds=20)
    step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    before = REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) or 0
    try:
        assert 0 <= (step.turn() or 0) <= 1
        assert (outcomes(sql, "good")[:3], outcomes(sql, "bad")) == ([FIRED] * 3, [])
        assert REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) >= before + 3
        assert REGISTRY.get_sample_value("worker_ticks_late_seconds_count") >= 3
        sql("DELETE FROM haulier.schedule WHERE name = 'good'")
        # Only the refused one is left, which is put off; it is not as if there were none.
        assert step.turn() == LOOK_SECONDS
        sql("DELETE FROM haulier.schedule")
        assert step.turn() is None
    finally:
        step.database.close()
