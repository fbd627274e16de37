"""How late schedules fire, whether each tick fires once, and what idle schedules cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from haulier.postgres.scratch import url_of
from lab.bench.contenders.haulier import Haulier, prepare
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.descendants import descendants
from lab.servers import Connection, Database, ask, connect
from lab.waiting import pause, until

NAME = "schedules"
TITLE = "1,000 schedules of one second"

SCHEDULES, FIRING_SECONDS, IDLE_SECONDS, WORKERS = 1000, 60.0, 60.0, 3
# A worker knows of schedules 5 s after the first one at the latest.
WARM_UP_SECONDS = 8.0
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
    SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY 1000 * extract(epoch FROM {at} - {due})::float8)
    FROM {table} WHERE {due} >= %s
"""
# When the transaction began that fired it, which is what `fired_at` says; when that had committed, so that its job was
# there to be claimed; and when that job started.
FIRED_LATE = LATE.format(at="fired_at", due="scheduled_at", table="haulier.tick")
THERE_LATE = LATE.format(at="pg_xact_commit_timestamp(xmin)", due="scheduled_at", table="haulier.tick")
STARTED_LATE = LATE.format(at="started_at", due="scheduled_for", table="haulier.finished_job")


def entries() -> list[Entry]:
    """Return schedules that fire each second, none, and idle ones."""
    return [
        Entry("calm", "1,000 schedules of one second", calm, settings={"workers": WORKERS}, at_most=3),
        Entry("none", "no schedule, one worker", partial(idle, 0), at_most=3),
        Entry("idle", "1,000 daily schedules, one worker", partial(idle, SCHEDULES), at_most=3),
    ]


def calm(bench: Bench) -> Figures:
    """Let three workers fire for a minute."""
    seconds = bench.seconds(FIRING_SECONDS, least=5.0)
    with own_server() as (_, url), closing(connect(url)) as conn, ExitStack() as stack:
        start_workers(stack, url)
        _plant(conn, bench, every=1)
        pause(WARM_UP_SECONDS + seconds)
        return _figures(conn, since=now() - timedelta(seconds=seconds))


def idle(schedules: int, bench: Bench) -> Figures:
    """Return the share of a core that a worker and its server use beside this many daily schedules."""
    seconds = bench.seconds(IDLE_SECONDS, least=3.0)
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


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of these processes; processes that have ended count as 0."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            # User and system time are the 12th and 13th words after the name, which may hold any characters.
            ticks += sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _figures(conn: Connection, *, since: datetime) -> Figures:
    """Stop the schedules, wait until all jobs have run, and read the figures from the tables."""
    with conn.cursor() as cursor:
        cursor.execute(STOP)
    until(lambda: not ask(conn, ANY_LEFT), within=300, every=0.5, what="all jobs have run")
    return {
        "ticks": ask(conn, "SELECT count(*) FROM haulier.tick"),
        "lost": ask(conn, LOST),
        "amiss": ask(conn, AMISS),
        **percentiles("fired", ask(conn, FIRED_LATE, since)),
        **percentiles("there", ask(conn, THERE_LATE, since)),
        **percentiles("started", ask(conn, STARTED_LATE, since)),
    }


def percentiles(name: str, found: Sequence[float] | None) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum as figures."""
    if found is None:
        return {}
    return {f"{name}_{which}_ms": round(ms, 1) for which, ms in zip(("p50", "p99", "max"), found, strict=True)}


TABLES = [
    PageTable(
        figure("ticks", "ticks"),
        figure("late by, p50 ms", "fired_p50_ms", 1),
        figure("p99", "fired_p99_ms", 1),
        figure("job stored, p50 ms", "there_p50_ms", 1),
        figure("p99", "there_p99_ms", 1),
        figure("job started, p50 ms", "started_p50_ms", 1),
        figure("p99", "started_p99_ms", 1),
        rows=lambda result: [row for row in result.rows if row.name == "calm"],
    ),
    PageTable(
        figure("cores, worker and server", "core", 3),
        rows=lambda result: [row for row in result.rows if row.name != "calm"],
    ),
]
TARGETS = [
    *(
        at_most(label, figure_of("calm", measured), bound)
        for label, measured, bound in (
            ("ticks lost", "lost", 0),
            ("ticks without exactly one job", "amiss", 0),
            ("late by, p50 ms", "fired_p50_ms", 20),
            ("late by, p99 ms", "fired_p99_ms", 100),
            ("job stored, p50 ms", "there_p50_ms", 20),
            ("job stored, p99 ms", "there_p99_ms", 100),
        )
    ),
    at_most("cores for 1,000 daily schedules", figure_of("idle", "core"), 0.05),
]
