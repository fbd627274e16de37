"""How late schedules fire, whether each tick counts once while all around them breaks, and what idle ones cost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from haulier.postgres.scratch import url_of
from lab.bench.contenders.haulier import Haulier, prepare
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.dead_rows import cpu_seconds
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.descendants import descendants
from lab.servers import Connection, Database, ask, connect
from lab.waiting import pause, until

NAME = "schedules"
TITLE = "1,000 schedules of one second, while workers are killed and the database restarts"

SCHEDULES, SECONDS, CALM_SECONDS, IDLE_SECONDS, WORKERS, SEED = 1000, 600.0, 60.0, 60.0, 3, 16
# A worker knows of schedules 5 s after the first one at the latest.
WARM_UP_SECONDS = 8.0
# So long after a restart workers may still wait before they try again: no worker is live, as far as that goes.
BACK_SECONDS = 3.0
PLANT = """
    INSERT INTO haulier.schedule (
        name, every_seconds, time_zone, overlap, missed, job, counts_from, decided_to, look_at)
    SELECT 'schedule-' || n, %s, 'UTC', 'allow', 'last', jsonb_build_object('kind', 'noop', 'payload',
        jsonb_build_object('n', n)), date_trunc('second', now()), date_trunc('second', now()), now()
    FROM generate_series(1, %s) AS n
"""
STOP = "UPDATE haulier.schedule SET look_at = '2100-01-01'"
ANY_LEFT = "SELECT EXISTS (SELECT FROM haulier.job)"
# Of each schedule the ticks from its first to its last, of which there is one a second.
LOST = """
    SELECT coalesce(sum(extract(epoch FROM newest - oldest)::int + 1 - ticks), 0)::int
    FROM (
        SELECT count(*) AS ticks, min(scheduled_at) AS oldest, max(scheduled_at) AS newest
        FROM haulier.tick
        GROUP BY schedule
    ) AS of_schedule
"""
# Jobs without a tick, ticks that fired without their job, and jobs that share one.
AMISS = """
    SELECT (SELECT count(*) FROM haulier.jobs WHERE schedule IS NOT NULL AND NOT EXISTS (
            SELECT FROM haulier.tick
            WHERE job_id = id AND tick.schedule = jobs.schedule AND scheduled_at = scheduled_for))
        + (SELECT count(*) FROM haulier.tick WHERE outcome <> 'fired')
        + (SELECT count(*) FROM haulier.tick)
        - (SELECT count(DISTINCT (schedule, scheduled_for)) FROM haulier.jobs WHERE schedule IS NOT NULL)
"""
LATE = """
    SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY 1000 * extract(epoch FROM {} - {})::float8)
    FROM {}
    WHERE {} >= %s AND NOT EXISTS (
        SELECT FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS away (since, until)
        WHERE {} BETWEEN since AND until)
"""
# When the transaction began that fired it, which is what `fired_at` says; when that had committed, so that its job was
# there to be claimed; and when that job started.
FIRED_LATE = LATE.format("fired_at", "scheduled_at", "haulier.tick", "scheduled_at", "scheduled_at")
THERE_LATE = LATE.format(
    "pg_xact_commit_timestamp(xmin)", "scheduled_at", "haulier.tick", "scheduled_at", "scheduled_at"
)
STARTED_LATE = LATE.format("started_at", "scheduled_for", "haulier.finished_job", "scheduled_for", "scheduled_for")
Away = list[tuple[datetime, datetime]]
# The rows in which schedules fire, with their labels.
FIRING = {
    "calm": "nothing breaks, a minute",
    "faults": "two workers killed, two restarts, ten minutes",
}


def entries() -> list[Entry]:
    """Return schedules with and without faults, and idle ones."""
    settings = {"workers": WORKERS}
    return [
        Entry("calm", FIRING["calm"], calm, settings=settings, at_most=3),
        Entry("faults", FIRING["faults"], faults, settings=settings, at_most=1),
        Entry("none", "no schedule, one worker", partial(idle, 0), at_most=3),
        Entry("idle", "1,000 daily schedules, one worker", partial(idle, SCHEDULES), at_most=3),
    ]


def calm(bench: Bench) -> Figures:
    """Let three workers fire for a minute."""
    seconds = max(5.0, CALM_SECONDS * min(1.0, bench.scale * 10))
    with own_server() as (_, url), closing(connect(url)) as conn, ExitStack() as stack:
        start_workers(stack, url)
        _plant(conn, bench, every=1)
        pause(WARM_UP_SECONDS + seconds)
        return _told(conn, since=now() - timedelta(seconds=seconds), away=[])


def faults(bench: Bench) -> Figures:
    """Let three workers fire for ten minutes, kill two of them, and restart the database twice."""
    seconds = max(20.0, SECONDS * bench.scale)
    dice, away = random.Random(SEED), list[tuple[datetime, datetime]]()
    with own_server() as (database, url), ExitStack() as stack:
        workers = start_workers(stack, url)
        with closing(connect(url)) as conn:
            _plant(conn, bench, every=1)
        pause(WARM_UP_SECONDS)
        began = time.monotonic()
        victims = dice.sample(workers, 2)
        steps = [partial(_restart, database, away)] * 2 + [partial(_kill, victim) for victim in victims]
        dice.shuffle(steps)
        # Each in a part of the time of its own, so that two of them never coincide: that would measure less.
        for part, step in enumerate(steps):
            at = seconds * (part + dice.uniform(0.2, 0.8)) / len(steps)
            pause(max(0.0, began + at - time.monotonic()))
            step()
        pause(max(0.0, began + seconds - time.monotonic()))
        with closing(connect(url)) as conn:
            return _told(conn, since=now() - timedelta(seconds=seconds), away=away)


def idle(schedules: int, bench: Bench) -> Figures:
    """Return which share of a core a worker and its server use where so many schedules fire once a day."""
    seconds = max(3.0, IDLE_SECONDS * min(1.0, bench.scale * 10))
    with own_server() as (database, url), closing(connect(url)) as conn, ExitStack() as stack:
        if schedules:
            _plant(conn, bench, every=86_400)
        [worker] = start_workers(stack, url, number=1)
        pause(WARM_UP_SECONDS)
        assert database.postgres is not None
        assert database.postgres.process is not None
        pids = [worker.pid, *descendants(worker.pid), *descendants(database.postgres.process.pid)]
        before, began = cpu_seconds(pids), time.monotonic()
        pause(seconds)
        return {"core": round((cpu_seconds(pids) - before) / (time.monotonic() - began), 4)}


@contextmanager
def own_server() -> Iterator[tuple[Database, str]]:
    """Yield a server of its own, which may be restarted, and the URL of a database with the schema in it."""
    with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder, (database := Database(Path(folder))):
        with closing(connect(database.dsn)) as conn, conn.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        # Which takes effect at a start.
        database.stop_immediately()
        database.start_again()
        with closing(connect(database.dsn)) as conn, conn.cursor() as cursor:
            cursor.execute("CREATE DATABASE haulier_bench_schedules")
        url = url_of(database.dsn, "haulier_bench_schedules")
        prepare(url)
        yield database, url


def start_workers(stack: ExitStack, url: str, number: int = WORKERS) -> list[subprocess.Popen[bytes]]:
    """Start workers that run until the stack ends."""
    worker = Haulier(threads=4, settings={"LOG_LEVEL": "WARNING"})
    return [stack.enter_context(worker.working(url))[0] for _ in range(number)]


def _plant(conn: Connection, bench: Bench, *, every: int) -> None:
    with conn.cursor() as cursor:
        cursor.execute(PLANT, (every, bench.jobs(SCHEDULES, least=20)))


def _restart(database: Database, away: Away) -> None:
    since = now() - timedelta(seconds=1)
    database.stop_immediately()
    database.start_again()
    away.append((since, now() + timedelta(seconds=BACK_SECONDS)))


def _kill(victim: subprocess.Popen[bytes]) -> None:
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _told(conn: Connection, *, since: datetime, away: Away) -> Figures:
    """End it, wait until all jobs have run, and return what the tables say."""
    with conn.cursor() as cursor:
        cursor.execute(STOP)
    until(lambda: not ask(conn, ANY_LEFT), within=300, every=0.5, what="all jobs have run")
    asked = (since, [start for start, _ in away], [end for _, end in away])
    return {
        "ticks": ask(conn, "SELECT count(*) FROM haulier.tick"),
        "lost": ask(conn, LOST),
        "amiss": ask(conn, AMISS),
        **percentiles("fired", ask(conn, FIRED_LATE, *asked)),
        **percentiles("there", ask(conn, THERE_LATE, *asked)),
        **percentiles("started", ask(conn, STARTED_LATE, *asked)),
    }


def percentiles(name: str, found: Sequence[float] | None) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum as figures."""
    # In a short run on a busy machine each tick may fall into a restart.
    if found is None:
        return {}
    return {f"{name}_{which}_ms": round(ms, 1) for which, ms in zip(("p50", "p99", "max"), found, strict=True)}


TABLES = [
    PageTable(
        figure("ticks", "ticks"),
        figure("lost", "lost"),
        figure("without their one job", "amiss"),
        figure("late by, p50 ms", "fired_p50_ms", 1),
        figure("p99", "fired_p99_ms", 1),
        figure("most", "fired_max_ms"),
        figure("job there, p50 ms", "there_p50_ms", 1),
        figure("p99", "there_p99_ms", 1),
        figure("job started, p50 ms", "started_p50_ms", 1),
        figure("p99", "started_p99_ms", 1),
        rows=lambda result: [row for row in result.rows if row.name in FIRING],
    ),
    PageTable(
        figure("of a core, worker and server", "core", 3),
        rows=lambda result: [row for row in result.rows if row.name not in FIRING],
    ),
]
TARGETS = [
    *(
        at_most(f"{what}, {label}", figure_of(name, measured), bound)
        for name, label in FIRING.items()
        for what, measured, bound in (
            ("ticks lost", "lost", 0),
            ("ticks without their one job", "amiss", 0),
            ("late by, p50 ms", "fired_p50_ms", 20),
            ("late by, p99 ms", "fired_p99_ms", 100),
            ("job there, p50 ms", "there_p50_ms", 20),
            ("job there, p99 ms", "there_p99_ms", 100),
        )
    ),
    at_most("of a core for 1,000 daily schedules", figure_of("idle", "core"), 0.05),
]
