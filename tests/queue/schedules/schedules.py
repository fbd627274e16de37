"""Schedules as tests make them, and what their tables say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Sql = Callable[..., list[tuple[Any, ...]]]


def plant(sql: Sql, name: str = "nightly", *, seconds_ago: float = 0, **columns: Any) -> None:
    """Add a schedule that was made `seconds_ago`, at a whole second, and is due to be looked at."""
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
    """Return what the ticks of all schedules, each of one second, come to.

    gaps: ticks without a row between the first and the last; late: the longest delay in seconds.
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


# A kind of job that `refuse` has the database refuse, and one that it accepts.
REFUSED: dict[str, Any] = {"job": {"kind": "t.note", "payload": {"refused": True}}}
HEALTHY: dict[str, Any] = {"job": {"kind": "t.note", "payload": {}}}
# What a trigger of the owner's may raise: values, rights, a state, its own; and what elsewhere means an outage.
OF_A_ROW = ("22023", "23514", "42501", "P0001", "P0004", "MY001", "XX000")
SQLSTATES = (*OF_A_ROW, "55000", "55P03", "40001", "53100", "57014", "08006", "25006")


@contextmanager
def refused(sql: Sql, state: str = "P0001", *, deferred: bool = False, does: str | None = None) -> Iterator[None]:
    """Let a trigger refuse the jobs of REFUSED, or run a block of plpgsql instead. It counts its tries."""
    does = does or f"BEGIN PERFORM nextval('public.tries'); RAISE 'no such customer' USING ERRCODE = '{state}'; END"
    when = "CONSTRAINT TRIGGER refuse AFTER INSERT ON haulier.job DEFERRABLE INITIALLY DEFERRED"
    sql(
        f"""
        CREATE SEQUENCE public.tries;
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {does} $$;
        CREATE {when if deferred else "TRIGGER refuse BEFORE INSERT ON haulier.job"}
            FOR EACH ROW WHEN (NEW.payload ? 'refused') EXECUTE FUNCTION public.refuse()
        """
    )
    try:
        yield
    finally:
        sql("DROP FUNCTION public.refuse() CASCADE; DROP SEQUENCE public.tries")


def tries(sql: Sql) -> int:
    [(number,)] = sql("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.tries")
    return int(number)
