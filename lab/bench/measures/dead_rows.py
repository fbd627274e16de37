"""Whether each statement is as quick beside 6 M dead rows, kept by somebody's snapshot, as beside none."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from psycopg2.errors import QueryCanceled

from haulier.postgres.connection import connect as own_connection
from haulier.queue import produce
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.snapshot import holding_snapshot
from lab.bench.results import Result, Row
from lab.bench.statements import CALLS, QUEUED, RUNNING, Fixture, timed
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.servers import Connection, ask, connect
from lab.waiting import TookTooLong, alive, pause, until

NAME = "dead_rows"
TITLE = "Each statement beside 6 M dead rows, under a held snapshot"

# Each job leaves two dead rows: its waiting version and its running version.
DEAD_JOBS = 3_000_000
TIMES, THREADS, LOOK_SECONDS = 5, 8, 10.0
# Times below this count as this in the ratio: half a millisecond more hurts nobody.
LEAST_MS = 0.5
CANCEL_SECONDS, GIVE_UP_SECONDS = 0.5, 15.0
# The worker's only queue, so that it claims none of the jobs that the calls put into other queues.
HEARS = "hears"

PREPARE = """
    ALTER TABLE haulier.job SET (autovacuum_enabled = off);
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes, snoozes,
        cancel_requested, payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), CASE WHEN n % 10 = 0 THEN 'failed_permanent' ELSE 'succeeded' END, 'noop', 'default', 0,
        now(), 1, gen_random_uuid(), now(), 1, 3, 0, 0, false, '{"n": 1}', '[]', at, now(), now()
    FROM generate_series(1, 2000) AS n
    CROSS JOIN LATERAL (SELECT now() - interval '1 hour' + interval '50 minutes' * n / 2000 AS at) AS instant;
    INSERT INTO haulier.job (kind, payload, queue, created_at, run_at)
    SELECT 'noop', '{"n": 1}', queue, now() - interval '2 hours', now() + interval '1 day'
    FROM unnest('{default,default,other,third}'::text[]) AS queue;
    INSERT INTO haulier.job (kind, payload, status, attempt, attempts, claim, started_at, created_at, run_at)
    SELECT 'noop', '{"n": 1}', 'retrying', 1, 1, gen_random_uuid(), now(), now() - interval '2 hours', now()
    FROM generate_series(1, 4)
"""
# Leaves the table as an hour of real work would: jobs are inserted, claimed and settled by the same transitions. Half
# of them were run by the measured worker. Only the history is smaller: it has one job in 1,500, inserted by PREPARE.
DEAD = (
    """
    INSERT INTO haulier.job (kind, payload, created_at, updated_at, run_at)
    SELECT %(kind)s, '{"n": 1}', at, at, at
    FROM generate_series(%(part)s, %(jobs)s, %(parts)s) AS n
    CROSS JOIN LATERAL (SELECT now() - interval '1 hour' + interval '50 minutes' * n / %(jobs)s AS at) AS instant
    """,
    """
    UPDATE haulier.job
    SET status = 'running', attempt = 1, attempts = 1, claim = haulier.uuidv7(), started_at = now(),
        updated_at = now(),
        worker_id = CASE WHEN get_byte(uuid_send(id), 15) %% 2 = 0 THEN %(worker)s::uuid
            ELSE md5((get_byte(uuid_send(id), 14) %% 16)::text)::uuid END
    WHERE kind = %(kind)s
    """,
    "DELETE FROM haulier.job WHERE kind = %(kind)s",
)
WORKER = """
    INSERT INTO haulier.worker (id, host, pid, threads, lease, beat_at) VALUES (%s, 'bench', 1, 8, '1 day', now())
"""
# How many connections make the dead rows at the same time.
PARTS = 2


def entries() -> list[Entry]:
    """Return Haulier: both sides of each comparison are in one repetition."""
    missing = None if Path("/proc/self/stat").exists() else "there is no /proc"
    settings = {"dead_rows": 2 * DEAD_JOBS, "calls": TIMES, "threads": THREADS}
    return [Entry("haulier", "Haulier", once, missing, settings=settings, at_most=1)]


@dataclass
class Side:
    """One of the two databases, with a worker at work on it. Shape: running are its jobs."""

    url: str
    admin: Connection
    is_dead: bool
    pid: int
    worker_id: UUID
    running: list[UUID]

    def tidy(self, kept: Sequence[UUID]) -> None:
        """Delete the rows that the calls have left behind."""
        with self.admin.cursor() as cursor:
            cursor.execute("DELETE FROM haulier.job WHERE id <> ALL(%s::uuid[])", ([str(each) for each in kept],))
            cursor.execute("DELETE FROM haulier.sleeper; DELETE FROM haulier.idempotency")
            cursor.execute("DELETE FROM haulier.worker WHERE id <> %s", (str(self.worker_id),))
            if not self.is_dead:
                cursor.execute("VACUUM haulier.job")


def once(bench: Bench) -> Figures:
    """Make both databases, measure a worker on each, then time every call on both in turns."""
    jobs, times = bench.jobs(DEAD_JOBS, least=1000), max(3, round(TIMES * bench.scale))
    try_all(bench)
    with ExitStack() as databases:
        with ExitStack() as workers:
            none, dead = (side(bench, databases, workers, is_dead) for is_dead in (False, True))
            databases.enter_context(holding_snapshot(dead.url))
            pass_by(dead, jobs)
            figures: dict[str, float | None] = {"dead_rows": 2 * jobs}
            for each in (none, dead):
                quiet(each)
            for name, each in (("none", none), ("dead", dead)):
                figures.update({f"{what}_{name}": value for what, value in lived(each, bench.scale).items()})
        with fixture(none) as beside_none, fixture(dead) as beside_dead:
            kept = [live(each) for each in (none, dead)]
            for name, call in CALLS.items():
                alone, beside = (statistics.median(timed(each, call, times)) for each in (beside_none, beside_dead))
                for each, ids in zip((none, dead), kept, strict=True):
                    each.tidy(ids)
                figures |= {f"{name}_none": alone, f"{name}_dead": beside, f"{name}_ratio": ratio(alone, beside)}
    return {**figures, "greatest_ratio": max(figures[f"{name}_ratio"] or 0.0 for name in CALLS)}


def side(bench: Bench, databases: ExitStack, workers: ExitStack, is_dead: bool) -> Side:
    """Return a database with some live jobs, and a worker whose threads all have one."""
    worker = Haulier(threads=THREADS, settings={"WORKER_QUEUES": HEARS, "SHUTDOWN_SECONDS": "0"})
    url = databases.enter_context(worker.home(bench.server))
    admin = databases.enter_context(closing(connect(url)))
    with admin.cursor() as cursor:
        cursor.execute(PREPARE)
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload, queue)"
            """ SELECT 'sleep', '{"milliseconds": 600000}', %s FROM generate_series(1, %s)""",
            (HEARS, THREADS),
        )
    [started] = workers.enter_context(worker.working(url))
    running = "SELECT array_agg(id::text) FROM haulier.job WHERE status = 'running' HAVING count(*) = %s"
    ids = until(alive([started], lambda: ask(admin, running, THREADS)), within=60, what="every thread has a job")
    worker_id = UUID(ask(admin, "SELECT id::text FROM haulier.worker"))
    return Side(url, admin, is_dead, started.pid, worker_id, [UUID(each) for each in ids])


def try_all(bench: Bench) -> None:
    """Make every call once, so that a broken call fails before the minutes that the rest takes."""
    with Haulier().home(bench.server) as url, closing(connect(url)) as admin:
        with admin.cursor() as cursor:
            cursor.execute(PREPARE)
        with fixture(Side(url, admin, False, 0, uuid4(), [])) as ready:
            for call in CALLS.values():
                timed(ready, call, 1)


def live(side: Side) -> list[UUID]:
    """Return the live jobs."""
    with side.admin.cursor() as cursor:
        cursor.execute("SELECT id::text FROM haulier.job")
        return [UUID(job_id) for (job_id,) in cursor.fetchall()]


def pass_by(side: Side, jobs: int) -> None:
    """Let this many jobs come and go."""
    with side.admin.cursor() as cursor:
        cursor.execute("ALTER TABLE haulier.job DISABLE TRIGGER knock")
        with ThreadPoolExecutor(PARTS) as pool:
            list(pool.map(partial(pass_by_part, side, jobs), range(1, PARTS + 1)))
        cursor.execute("ALTER TABLE haulier.job ENABLE TRIGGER knock")


def pass_by_part(side: Side, jobs: int, part: int) -> None:
    """Let one part of the jobs come and go."""
    told = {"jobs": jobs, "worker": str(side.worker_id), "kind": f"dead-{part}", "part": part, "parts": PARTS}
    with closing(connect(side.url)) as conn, conn.cursor() as cursor:
        for statement in DEAD:
            cursor.execute(statement, told)


def quiet(side: Side) -> None:
    """Do what a server does by itself within minutes: set the rows' hint bits, analyze, and make a checkpoint."""
    with side.admin.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.job")
        cursor.execute("ANALYZE haulier.job")
        cursor.execute("CHECKPOINT")


@contextmanager
def fixture(side: Side) -> Iterator[Fixture]:
    """Yield what the calls need: some jobs, and the row of the worker, inserted anew since its process has ended."""
    worker_id, claim = str(side.worker_id), uuid4()
    with closing(own_connection(side.url)) as conn:
        with side.admin.cursor() as cursor:
            # The worker may have ended without deleting its row.
            cursor.execute("DELETE FROM haulier.worker")
            cursor.execute(WORKER, (worker_id,))
            cursor.execute(RUNNING, ("default", worker_id, str(claim), THREADS))
            cursor.execute(QUEUED, ("default", 10))
            cursor.execute(QUEUED, ("other", 10))
        known = ask(side.admin, "SELECT array_agg(claim::text) FROM haulier.job WHERE worker_id = %s", worker_id)
        far = ask(side.admin, "SELECT id::text FROM haulier.finished_job WHERE status = 'succeeded' LIMIT 1")
        yield Fixture(conn, side.admin, side.worker_id, [UUID(each) for each in {*known}], UUID(far))


def lived(side: Side, scale: float) -> dict[str, float | None]:
    """Return how much of a core the worker and its connections use while its jobs run, and how long cancels take."""
    seconds = max(0.5, LOOK_SECONDS * scale)
    worker, server = shares(side, seconds)
    taken = [cancelled_after(side, job_id) for job_id in side.running]
    return {
        "worker_core": worker,
        "server_core": server,
        "cancel_p50_s": round(statistics.median(taken), 3),
        "cancel_max_s": round(max(taken), 3),
    }


def cancelled_after(side: Side, job_id: UUID) -> float:
    """Cancel a running job and return how long it takes to end, at most GIVE_UP_SECONDS."""
    ended = "SELECT 1 FROM haulier.finished_job WHERE id = %s AND status = 'cancelled'"
    with closing(own_connection(side.url)) as conn:

        def accepted() -> bool:
            with suppress(QueryCanceled):
                produce.cancel(conn, job_id)
                return True
            return False

        began = time.monotonic()
        with suppress(TookTooLong):
            # A cancel whose statement the server has cancelled is tried again, as a client would.
            until(accepted, within=GIVE_UP_SECONDS, what="the cancel is accepted")
            left = began + GIVE_UP_SECONDS - time.monotonic()
            until(lambda: ask(side.admin, ended, str(job_id)), within=left, every=0.005, what="the job has ended")
            return time.monotonic() - began
    return GIVE_UP_SECONDS


def shares(side: Side, seconds: float) -> tuple[float, float | None]:
    """Return the share of a core that a worker uses, and that of its connections, if the server is on this machine."""
    with side.admin.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'haulier%'"
        )
        backends = [pid for (pid,) in cursor.fetchall()]
    before = [cpu_seconds([side.pid]), cpu_seconds(backends)]
    began = time.monotonic()
    pause(seconds)
    took = time.monotonic() - began
    worker, server = (
        round((after - earlier) / took, 3)
        for after, earlier in zip([cpu_seconds([side.pid]), cpu_seconds(backends)], before, strict=True)
    )
    return worker, server if backends else None


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of these processes; those that have ended count as 0."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            # User and system time are the 12th and 13th words after the name, which may hold any characters.
            ticks += sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def ratio(none: float, dead: float) -> float:
    """Return how many times as long a call takes beside dead rows; times below LEAST_MS count as LEAST_MS."""
    return max(dead, LEAST_MS) / max(none, LEAST_MS)


# Figures that are taken on both sides, with their labels.
LIFE = {
    "cancel_p50_s": "a cancel until the job has ended, s",
    "cancel_max_s": "… the longest of 8",
    "worker_core": "of a core: a worker whose 8 threads all have a job",
    "server_core": "… and its connections, in the server",
}


def rows(names: Mapping[str, str], result: Result) -> list[Row]:
    """Return a row for each of these names, with the figures of both sides. Shape: names has the labels."""
    measured = {name: spread for row in result.rows for name, spread in row.figures.items()}
    ends = ("none", "dead", "ratio")
    figures = {name: {end: measured[f"{name}_{end}"] for end in ends if f"{name}_{end}" in measured} for name in names}
    return [Row(f"haulier-{name}", label, figures=figures[name]) for name, label in names.items()]


TABLES = [
    PageTable(
        figure("beside none, ms", "none", 2),
        figure("beside 6 M, ms", "dead", 2),
        figure("ratio", "ratio", 2),
        rows=partial(rows, {name: call.label for name, call in CALLS.items()}),
    ),
    PageTable(figure("beside none", "none", 3), figure("beside 6 M", "dead", 3), rows=partial(rows, LIFE)),
]
TARGETS = [
    at_most("the greatest ratio of all calls", figure_of("haulier", "greatest_ratio"), 2),
    at_most("the longest cancel, s", figure_of("haulier", "cancel_max_s_dead"), CANCEL_SECONDS),
]
