"""Schedules as tests make them, and what their tables say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Sql = Callable[..., list[tuple[Any, ...]]]


def plant(sql: Sql, name: str = "nightly", *, seconds_ago: float = 0, **columns: Any) -> None:
    """Add a schedule that was made so many seconds ago, at a whole second, and is due to be looked at."""
    rule = {
        "time_zone": "UTC",
        "overlap": "allow",
        "missed": "last",
        "job": {"kind": "mail", "payload": {"to": "a@b.c"}},
    }
    if "cron" not in columns:
        rule["every_seconds"] = 1
    values = {**rule, **columns}
    values["job"] = json.dumps(values["job"])
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    made = f"date_trunc('second', haulier.schedule_time()) - make_interval(secs => {float(seconds_ago)})"
    sql(
        f"INSERT INTO haulier.schedule (name, {names}, counts_from, decided_to, look_at)"
        f" VALUES (%s, {marks}, {made}, {made}, {made}) RETURNING 1",
        name,
        *values.values(),
    )


def ticks(sql: Sql, name: str = "nightly") -> list[tuple[Any, ...]]:
    """Return each tick's outcome and job, in order."""
    return sql("SELECT outcome, job_id FROM haulier.tick WHERE schedule = %s ORDER BY scheduled_at", name)


def set_time(sql: Sql, expression: str = "now()") -> None:
    """Let schedules go by another time."""
    sql(
        "CREATE OR REPLACE FUNCTION haulier.schedule_time() RETURNS timestamptz LANGUAGE sql STABLE"
        f" SET search_path = pg_catalog, pg_temp AS $$ SELECT {expression} $$"
    )


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
