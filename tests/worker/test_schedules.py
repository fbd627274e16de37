"""Schedules under real workers: each tick has exactly one row and one job, whoever is killed when. It ..."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import eventually
from tests.queue.schedules import Sql, plant
from tests.worker.conftest import Process
from tests.worker.waiting import let_pass

CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haulier worker' AND datname = current_database()"
)
Spawn = Callable[..., Process]


def account(sql: Sql) -> dict[str, Any]:
    """Return what the ticks of all schedules come to.

    Shape: gaps is how many ticks of the schedules, which are of one second each, have no row between the first and the
           last; jobs and distinct are the jobs, live or ended, and their ticks; late is the longest delay in seconds.
    """
    [(ticks, fired, gaps, late)] = sql(
        """
        SELECT sum(ticks), sum(fired), sum(extract(epoch FROM newest - oldest)::int + 1 - ticks), max(late)
        FROM (
            SELECT count(*) AS ticks, count(*) FILTER (WHERE outcome = 'fired') AS fired,
                min(scheduled_at) AS oldest, max(scheduled_at) AS newest,
                extract(epoch FROM max(fired_at - scheduled_at))::float AS late
            FROM haulier.tick
            GROUP BY schedule
        ) AS of_schedule
        """
    )
    [(jobs, distinct)] = sql(
        "SELECT count(*), count(DISTINCT (schedule, scheduled_for)) FROM haulier.jobs WHERE schedule IS NOT NULL"
    )
    [(orphans,)] = sql(
        "SELECT count(*) FROM haulier.tick WHERE job_id IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM haulier.jobs WHERE id = job_id AND schedule = tick.schedule AND scheduled_for = scheduled_at)"
    )
    return {
        "ticks": ticks, "fired": fired, "gaps": gaps, "late": late, "jobs": jobs, "distinct": distinct,
        "orphans": orphans,
    }  # fmt: skip


def kill_two_of_three(spawn_worker: Spawn, sql: Sql, schedules: int, seconds: float) -> dict[str, Any]:
    """Let three workers fire schedules of one second for so long, kill two, and return what the ticks come to."""
    workers = [spawn_worker(WORKER_THREADS=2, WAKE_UPS="off") for _ in range(3)]
    for number in range(schedules):
        plant(sql, f"s{number}", job={"kind": "t.note", "payload": {}})
    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] >= 2 * schedules, within=30)
    for worker in workers[:2]:
        let_pass(seconds / 3)
        worker.kill()
    let_pass(seconds / 3)
    # So that nothing is added while it is counted.
    sql("UPDATE haulier.schedule SET look_at = 'infinity' RETURNING 1")
    eventually(lambda: sql("SELECT count(*) FROM haulier.schedule WHERE look_at < 'infinity'") == [(0,)])
    return account(sql)


def test_each_tick_has_one_row_and_one_job_though_workers_are_killed(spawn_worker: Spawn, sql: Sql) -> None:
    found = kill_two_of_three(spawn_worker, sql, schedules=50, seconds=12)

    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 50 * 10


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_thousand_schedules_lose_and_double_nothing_in_two_minutes(spawn_worker: Spawn, sql: Sql) -> None:
    found = kill_two_of_three(spawn_worker, sql, schedules=1000, seconds=120)

    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["fired"] == found["jobs"] == found["distinct"] >= 1000 * 100


def test_fires_close_to_the_time_once_it_knows_of_schedules(spawn_worker: Spawn, sql: Sql) -> None:
    spawn_worker(WAKE_UPS="off")
    plant(sql, job={"kind": "t.note", "payload": {}})
    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] > 0, within=15)
    sql("DELETE FROM haulier.tick RETURNING 1")

    eventually(lambda: sql("SELECT count(*) FROM haulier.tick")[0][0] >= 4, within=15)

    delays = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick ORDER BY 1")
    # The machine may be busy; a thread that only looked each second would have half a second on average.
    assert delays[1][0] < 0.4


@pytest.mark.direct("looks at the server's own connections")
def test_has_a_connection_of_its_own_only_while_there_are_schedules(spawn_worker: Spawn, sql: Sql) -> None:
    spawn_worker(WORKER_THREADS=1, WAKE_UPS="off", COUNTING="off")
    # Until housekeeping is over.
    let_pass(3)
    [(before,)] = sql(CONNECTIONS)

    plant(sql, job={"kind": "t.note", "payload": {}})
    eventually(lambda: sql(CONNECTIONS) == [(before + 1,)], within=15)
    sql("DELETE FROM haulier.schedule RETURNING 1")
    eventually(lambda: sql(CONNECTIONS) == [(before,)], within=15)


def test_a_schedule_that_cannot_fire_keeps_none_of_the_others(spawn_worker: Spawn, sql: Sql) -> None:
    plant(sql, "refused", job={"kind": "Not a name", "payload": {}})
    plant(sql, "nowhere", time_zone="Mars/Olympus")
    plant(sql, "good", job={"kind": "t.note", "payload": {}})
    worker = spawn_worker(WAKE_UPS="off")

    def last() -> datetime | None:
        return sql("SELECT max(scheduled_at) FROM haulier.tick WHERE schedule = 'good'")[0][0]

    eventually(last, within=15)
    first = last()
    eventually(lambda: (last() or first) != first, within=15)

    assert sql("SELECT DISTINCT schedule FROM haulier.tick") == [("good",)]
    for name in ("refused", "nowhere"):
        assert worker.log.count(f"the schedule {name} cannot fire") == 1
