"""Schedules under real workers: each tick has exactly one row and one job, whoever is killed when. It ..."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.conftest import eventually
from tests.queue.schedules.schedules import HEALTHY, REFUSED, Sql, account, plant, refused, tries
from tests.worker.conftest import Process
from tests.worker.waiting import let_pass

CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haulier worker' AND datname = current_database()"
)
END_ALL = CONNECTIONS.replace("count(*)", "pg_terminate_backend(pid)")
Spawn = Callable[..., Process]
TICKS = "SELECT count(*) FROM haulier.tick"
# So that nothing is added while it is counted.
STOP = "UPDATE haulier.schedule SET look_at = '2100-01-01'"


NOTE = {"kind": "t.note", "payload": {}}


def fewest(sql: Sql) -> int:
    [(fewest,)] = sql("SELECT min(count) FROM (SELECT count(*) FROM haulier.tick GROUP BY schedule) AS of_each")
    return fewest or 0


def accounts(sql: Sql, *, fewest: int) -> None:
    """Stop the schedules; each of their ticks, of which there are so many, has one row and one job."""
    sql(STOP)
    found = account(sql)
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= fewest


def plant_many(sql: Sql, count: int) -> None:
    for number in range(count):
        plant(sql, f"s{number}", job=NOTE)


def with_faults(spawn_worker: Spawn, sql: Sql, *, schedules: int, seconds: float, seed: int) -> None:
    """Let three workers fire so many schedules of each second for so long.

    At times that come of the seed, two are killed, and twice all connections end, as in a restart of the server.
    """
    workers = [spawn_worker(WORKER_THREADS=2, WAKE_UPS="off", LOG_LEVEL="INFO") for _ in range(3)]
    plant_many(sql, schedules)
    eventually(lambda: sql(TICKS)[0][0] >= 2 * schedules)
    dice, passed = random.Random(seed), 0.0
    victims = dice.sample(workers, 2)
    faults = [lambda: sql(END_ALL), lambda: sql(END_ALL), victims[0].kill, victims[1].kill]
    for at, fault in zip(sorted(dice.uniform(0, seconds) for _ in faults), dice.sample(faults, 4), strict=True):
        let_pass(at - passed)
        passed = at
        fault()
    let_pass(seconds - passed)
    eventually(lambda: fewest(sql) >= 0.8 * seconds)


@pytest.mark.direct("ends the server's own connections")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_tick_has_one_row_and_one_job_though_workers_are_killed_and_connections_end(spawn_worker, sql, seed):
    with_faults(spawn_worker, sql, schedules=50, seconds=10, seed=seed)

    accounts(sql, fewest=50 * 8)


@pytest.mark.direct("looks at the server's own connections")
def test_fires_close_to_the_time_by_a_connection_of_its_own(spawn_worker, sql):
    spawn_worker(WORKER_THREADS=1, WAKE_UPS="off", COUNTING="off")
    # Until housekeeping is over.
    let_pass(3)
    [(before,)] = sql(CONNECTIONS)

    plant(sql, job=NOTE)
    eventually(lambda: sql(CONNECTIONS) == [(before + 1,)])
    eventually(lambda: sql(TICKS)[0][0] > 0)
    sql("DELETE FROM haulier.tick")
    eventually(lambda: sql(TICKS)[0][0] >= 3)
    delays = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick ORDER BY 1")
    sql("DELETE FROM haulier.schedule")

    eventually(lambda: sql(CONNECTIONS) == [(before,)])
    # The machine may be busy; a thread that only looked each second would have half a second on average.
    assert delays[1][0] < 0.4


# A refusal that looks like an outage, when the transaction commits, and one of a row, at once.
@pytest.mark.parametrize(("state", "deferred"), [("55000", True), pytest.param("MY001", False, marks=pytest.mark.slow)])
def test_two_workers_fire_every_healthy_tick_beside_refused_ones(spawn_worker, sql, state, deferred):
    of_good_ones = "SELECT min(ticks) FROM (SELECT count(*) AS ticks FROM haulier.tick GROUP BY schedule) AS of_one"
    for number in range(40):
        plant(sql, f"s{number}", **(HEALTHY if number % 10 else REFUSED))
    with refused(sql, state, deferred=deferred):
        for _ in range(2):
            spawn_worker(WAKE_UPS="off")
        eventually(lambda: (sql(of_good_ones)[0][0] or 0) >= 7, within=60)
        tried, put_off = tries(sql), sql("SELECT count(*) FROM haulier.schedule WHERE look_at > refused_since")
        sql(STOP)

    found = account(sql)
    assert sql("SELECT outcome, count(DISTINCT schedule) FROM haulier.tick GROUP BY 1") == [("fired", 36)]
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["jobs"] == found["distinct"]
    # Each of the four at first, once or twice all at once and then alone; and alone 5 s later.
    assert put_off == [(4,)]
    assert 4 <= tried <= 4 * 5
