"""How late healthy schedules fire beside some whose jobs the database refuses, and what becomes of their ticks."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial

from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.schedules import WORKERS, now, own_server, percentiles, start_workers
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, greatest
from lab.servers import ask, connect
from lab.waiting import pause

NAME = "refused_schedules"
TITLE = "Schedules of each minute, of which the database refuses some"

# How many minutes it takes, and how long before the next minute the schedules are made at the latest. Units: seconds.
MINUTES, PLANT_SECONDS = 3, 15.0
# The rows: how many schedules, and how many of a hundred are refused.
ROWS = {"refused-8000": (8000, 3), "refused-3000": (3000, 2)}
LABELS = {name: f"{many:,} schedules, {percent} % refused" for name, (many, percent) in ROWS.items()}
# A trigger of the owner's.
REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such customer'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON haulier.job FOR EACH ROW WHEN (NEW.payload ? 'refused')
        EXECUTE FUNCTION refuse();
"""
PLANT = """
    INSERT INTO haulier.schedule (name, cron, time_zone, overlap, missed, job, counts_from, decided_to, look_at)
    SELECT 'schedule-' || n, '* * * * *', 'UTC', 'allow', 'last', jsonb_build_object('kind', 'noop', 'payload',
        CASE WHEN n %% 100 < %s THEN jsonb_build_object('refused', n) ELSE jsonb_build_object('n', n) END),
        now(), now(), now()
    FROM generate_series(1, %s) AS n
"""
HEALTHY = "NOT EXISTS (SELECT FROM haulier.schedule WHERE name = tick.schedule AND job -> 'payload' ? 'refused')"
OUTCOMES = f"""
    SELECT jsonb_object_agg(outcome, ticks)
    FROM (
        SELECT outcome, count(*) AS ticks FROM haulier.tick WHERE {HEALTHY} AND scheduled_at < %s GROUP BY outcome
    ) AS of_outcome
"""
LATE = f"""
    SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
        ORDER BY 1000 * extract(epoch FROM fired_at - scheduled_at)::float8)
    FROM haulier.tick
    WHERE outcome = 'fired' AND scheduled_at < %s AND {HEALTHY}
"""


def entries() -> list[Entry]:
    """Return a few thousand schedules, and many."""
    settings = {"workers": WORKERS}
    return [
        Entry(name, LABELS[name], partial(once, many, percent), settings=settings, at_most=1)
        for name, (many, percent) in ROWS.items()
    ]


def once(many: int, percent: int, bench: Bench) -> Figures:
    """Let three workers fire for some minutes, and return what became of the ticks of healthy schedules."""
    minutes, schedules = bench.turns(MINUTES), bench.jobs(many, least=100)
    with own_server() as (_, url), closing(connect(url)) as conn, ExitStack() as stack:
        start_workers(stack, url)
        if (left := 60 - now().timestamp() % 60) < PLANT_SECONDS:
            pause(left)
        with conn.cursor() as cursor:
            cursor.execute(REFUSE)
            cursor.execute(PLANT, (percent, schedules))
        end = datetime.fromtimestamp((now().timestamp() // 60 + 1 + minutes) * 60, UTC)
        # The last tick has as long as the others.
        pause((end - now()).total_seconds() - 1)
        outcomes = ask(conn, OUTCOMES, end) or {}
        ticks = minutes * sum(n % 100 >= percent for n in range(1, schedules + 1))
        return {
            "ticks": ticks,
            "fired": outcomes.get("fired", 0),
            "missed": outcomes.get("skipped_missed", 0),
            "undecided": ticks - sum(outcomes.values()),
            **percentiles("fired", ask(conn, LATE, end)),
        }


TABLES = [
    PageTable(
        figure("healthy ticks", "ticks"),
        figure("fired", "fired"),
        figure("missed", "missed"),
        figure("late by, p50 ms", "fired_p50_ms"),
        figure("p99", "fired_p99_ms"),
    )
]
TARGETS = [
    at_most(what, greatest(measured, *ROWS), bound)
    for what, measured, bound in (
        ("ticks missed", "missed", 0),
        ("ticks undecided after a minute", "undecided", 0),
        ("late by, p99 ms", "fired_p99_ms", 2000),
    )
]
