"""Schedules under real workers: each tick has exactly one row and one job, whoever is killed when. It ..."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import eventually
from tests.queue.schedules.schedules import Sql, account, plant, set_time, ticks
from tests.worker.conftest import Process
from tests.worker.waiting import let_pass

CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haulier worker' AND datname = current_database()"
)
END_ALL = CONNECTIONS.replace("count(*)", "pg_terminate_backend(pid)")
Spawn = Callable[..., Process]


def seconds_of(number: int) -> dict[str, Any]:
    """Return what to plant for a schedule that fires each second."""
    return {"name": f"s{number}", "job": {"kind": "t.note", "payload": {}}}


def fewest(sql: Sql) -> int:
    """Return the number of ticks of the schedule that has the fewest."""
    [(fewest,)] = sql("SELECT min(count) FROM (SELECT count(*) FROM haulier.tick GROUP BY schedule) AS of_each")
    return fewest or 0


def with_faults(spawn_worker: Spawn, sql: Sql, *, schedules: int, seconds: float, seed: int) -> dict[str, Any]:
    """Let three workers fire so many schedules of each second for so long, and return what the ticks come to.

    At times that come of the seed, two are killed, and twice all connections end, as in a restart of the server.
    """
    workers = [spawn_worker(WORKER_THREADS=2, WAKE_UPS="off", LOG_LEVEL="INFO") for _ in range(3)]
    for number in range(schedules):
        plant(sql, **seconds_of(number))
    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] >= 2 * schedules)
    dice, passed = random.Random(seed), 0.0
    victims = dice.sample(workers, 2)
    faults = [lambda: sql(END_ALL), lambda: sql(END_ALL), victims[0].kill, victims[1].kill]
    for at, fault in zip(sorted(dice.uniform(0, seconds) for _ in faults), dice.sample(faults, 4), strict=True):
        let_pass(at - passed)
        passed = at
        fault()
    let_pass(seconds - passed)
    eventually(lambda: fewest(sql) >= 0.8 * seconds)
    # So that nothing is added while it is counted.
    sql("UPDATE haulier.schedule SET look_at = '2100-01-01' RETURNING 1")
    return account(sql)


@pytest.mark.direct("ends the server's own connections")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_tick_has_one_row_and_one_job_though_workers_are_killed_and_connections_end(spawn_worker, sql, seed):
    found = with_faults(spawn_worker, sql, schedules=50, seconds=10, seed=seed)

    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 50 * 8


@pytest.mark.slow
@pytest.mark.direct("ends the server's own connections")
@pytest.mark.timeout(400)
def test_a_thousand_schedules_lose_and_double_nothing_in_two_minutes(spawn_worker, sql):
    found = with_faults(spawn_worker, sql, schedules=1000, seconds=120, seed=3)

    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 1000 * 100


def test_a_deploy_that_replaces_one_worker_after_the_other_fires_each_tick_once(spawn_worker, sql):
    running = [spawn_worker(LOG_LEVEL="INFO") for _ in range(2)]
    for number in range(20):
        plant(sql, **seconds_of(number))
    eventually(lambda: sql("SELECT count(DISTINCT schedule) FROM haulier.tick") == [(20,)])

    for _ in range(4):
        before = fewest(sql)
        running.append(spawn_worker(LOG_LEVEL="INFO"))
        running[0].terminate()
        assert running.pop(0).wait() == 0
        # However quickly workers are replaced on this machine.
        eventually(lambda before=before: fewest(sql) > before)

    sql("UPDATE haulier.schedule SET look_at = '2100-01-01' RETURNING 1")
    found = account(sql)
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 20 * 4


def test_after_a_day_without_workers_each_tick_is_what_its_schedule_says_of_missed_ones(spawn_worker, sql):
    # A tick each ten minutes, the last one five minutes ago.
    day = {"every_seconds": 600, "seconds_ago": 86_700, "job": {"kind": "t.note", "payload": {}}}
    plant(sql, "skip", missed="skip", **day)
    plant(sql, "last", missed="last", **day)
    plant(sql, "all", missed="all", missed_max=5, missed_within_seconds=86_400, **day)
    plant(sql, "hour", missed="all", missed_max=100, missed_within_seconds=3600, **day)

    spawn_worker()
    eventually(lambda: sql("SELECT count(*) FROM haulier.tick") == [(4 * 144,)])

    for name, fired in (("skip", 0), ("last", 1), ("all", 5), ("hour", 6)):
        outcomes = [outcome for outcome, _ in ticks(sql, name)]
        assert outcomes == ["skipped_missed"] * (144 - fired) + ["fired"] * fired
    assert sql("SELECT count(*) FROM haulier.jobs WHERE schedule IS NOT NULL") == [(12,)]
    assert account(sql)["orphans"] == 0


def test_accounts_for_each_tick_once_if_the_clock_goes_forward_and_back_by_an_hour(spawn_worker, sql):
    rows = "SELECT count(*) FROM haulier.tick"
    plant(sql, **seconds_of(0))
    spawn_worker()
    eventually(lambda: sql(rows)[0][0] >= 2)
    try:
        set_time(sql, "now() + interval '1 hour'")
        eventually(lambda: sql(rows)[0][0] >= 3600)
        set_time(sql, "now()")
        # A turn that had begun may still end.
        let_pass(1)
        before = sql(rows)
        let_pass(2.5)
        assert sql(rows) == before
        set_time(sql, "now() + interval '1 hour 10 seconds'")
        eventually(lambda: sql(rows)[0][0] >= before[0][0] + 12)
        sql("UPDATE haulier.schedule SET look_at = '2100-01-01' RETURNING 1")
    finally:
        set_time(sql)

    found = account(sql)
    assert found["gaps"] == found["orphans"] == 0
    assert found["fired"] == found["jobs"] == found["distinct"]
    outcomes = [outcome for outcome, _ in ticks(sql, "s0")]
    assert set(outcomes) == {"fired", "skipped_missed"}
    # Those of the last minute were late, and not missed.
    assert outcomes.count("skipped_missed") in range(3500, 3560)


def test_fires_what_is_made_again_after_the_clock_was_ahead_and_was_set_back(spawn_worker, sql):
    rows = "SELECT count(*) FROM haulier.tick"
    since = f"{rows} WHERE outcome = 'fired' AND decided_at >= (SELECT created_at FROM haulier.schedule)"
    plant(sql, **seconds_of(0))
    spawn_worker()
    try:
        set_time(sql, "now() + interval '10 minutes'")
        eventually(lambda: sql(rows)[0][0] >= 600)
        set_time(sql, "now()")
        before = sql(f"{rows} WHERE scheduled_at > now()")
        sql("DELETE FROM haulier.schedule")

        plant(sql, **seconds_of(0))

        eventually(lambda: sql(since)[0][0] >= 3)
    finally:
        set_time(sql)
    sql("UPDATE haulier.schedule SET look_at = '2100-01-01'")
    assert sql(f"{rows} WHERE scheduled_at > now()")[0][0] >= before[0][0] - 30


def test_fires_close_to_the_time_once_it_knows_of_schedules(spawn_worker, sql):
    spawn_worker(WAKE_UPS="off")
    plant(sql, job={"kind": "t.note", "payload": {}})
    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] > 0)
    sql("DELETE FROM haulier.tick RETURNING 1")

    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] >= 4)

    delays = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick ORDER BY 1")
    # The machine may be busy; a thread that only looked each second would have half a second on average.
    assert delays[1][0] < 0.4


@pytest.mark.direct("looks at the server's own connections")
def test_has_a_connection_of_its_own_only_while_there_are_schedules(spawn_worker, sql):
    spawn_worker(WORKER_THREADS=1, WAKE_UPS="off", COUNTING="off")
    # Until housekeeping is over.
    let_pass(3)
    [(before,)] = sql(CONNECTIONS)

    plant(sql, job={"kind": "t.note", "payload": {}})
    eventually(lambda: sql(CONNECTIONS) == [(before + 1,)])
    sql("DELETE FROM haulier.schedule RETURNING 1")
    eventually(lambda: sql(CONNECTIONS) == [(before,)])


def test_a_schedule_that_cannot_fire_keeps_none_of_the_others(spawn_worker, sql):
    plant(sql, "refused", job={"kind": "Not a name", "payload": {}})
    plant(sql, "nowhere", time_zone="Mars/Olympus")
    plant(sql, "good", job={"kind": "t.note", "payload": {}})
    worker = spawn_worker(WAKE_UPS="off")

    def last() -> datetime | None:
        return sql("SELECT max(scheduled_at) FROM haulier.tick WHERE schedule = 'good'")[0][0]

    eventually(last)
    first = last()
    eventually(lambda: (last() or first) != first)

    assert sql("SELECT DISTINCT schedule FROM haulier.tick") == [("good",)]
    for name in ("refused", "nowhere"):
        assert worker.log.count(f"the schedule {name} cannot fire") == 1
