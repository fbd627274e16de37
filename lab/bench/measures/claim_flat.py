"""Whether claiming slows down with other rows in the tables: jobs not due, in other queues, or finished."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from uuid import UUID, uuid4

from haulier.domain.claim import ClaimRequest
from haulier.postgres.connection import connect as own_connection
from haulier.postgres.statements import Connection
from haulier.queue import claims
from lab.bench.contenders import haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.servers import connect

NAME = "claim_flat"
TITLE = "Claims beside backlog and history"
PLOT = Plot("jobs_per_second", "jobs claimed per second, one connection")

JOBS, BATCH = 20_000, 100
MILLION, TEN_MILLIONS = 1_000_000, 10_000_000

MORE = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', '{"n": 1}', %s, now() + make_interval(days => %s) FROM generate_series(1, %s)
"""
FINISHED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes, snoozes,
        cancel_requested, payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'succeeded', 'noop', 'default', 0, now(), 1, gen_random_uuid(), now(), 1, 3, 0, 0,
        false, '{"n": 1}', '[]', now(), now(), now()
    FROM generate_series(1, %s)
"""

# The other rows: a statement that inserts them, its parameters, and their number at full size.
More = tuple[str, list[str | int], int] | None


def entries() -> list[Entry]:
    """Return a row with only the jobs that are claimed in the tables, and rows with more in them."""
    rows: list[tuple[str, str, More]] = [
        ("haulier-only", "nothing else", None),
        ("haulier-deferred", "1 M deferred", (MORE, ["default", 1], MILLION)),
        ("haulier-other-queue", "1 M in another queue", (MORE, ["other", 0], MILLION)),
        ("haulier-ready", "1 M ready", (MORE, ["default", 0], MILLION)),
        ("haulier-finished", "10 M finished", (FINISHED, [], TEN_MILLIONS)),
    ]
    return [
        Entry(name, label, partial(once, name, more), settings={"batch": BATCH, "jobs": JOBS})
        for name, label, more in rows
    ]


def prepare(more: More, scale: float, url: str) -> None:
    """Fill a new database."""
    haulier.prepare(url)
    if more:
        statement, parameters, count = more
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute(statement, (*parameters, max(1000, int(count * scale))))


def once(name: str, more: More, bench: Bench) -> Figures:
    """Claim, and time only the claims; the claimed jobs are deleted again for the next repetition."""
    url = bench.server.kept(f"flat_{name}", partial(prepare, more, bench.scale))
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        # Due before all other jobs, so that these are the ones claimed.
        cursor.execute(MORE, ("default", -1, JOBS))
    bench.server.settle(url)
    with closing(own_connection(url)) as conn:
        worker = claims.register(conn, host="bench", pid=1, threads=1, queues=["default"], lease_seconds=3600)
        claimed = 0
        began = time.perf_counter()
        while claimed < JOBS:
            jobs = claim(conn, worker)
            claimed += jobs
            if not jobs:
                break
        seconds = time.perf_counter() - began
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute("DELETE FROM haulier.job WHERE status = 'running' OR run_at < now() - interval '12 hours'")
        cursor.execute("DELETE FROM haulier.worker")
    return {
        "jobs_per_second": round(claimed / seconds, 1),
        "ms_per_claim": round(1000 * seconds / (claimed / BATCH), 3),
    }


def claim(conn: Connection, worker: UUID) -> int:
    """Claim the best due jobs from the lanes that there are now, and return how many they were."""
    marks = [lane.head for lane in claims.lanes(conn, queues=["default"]) if lane.seconds <= 0]
    if not marks:
        return 0
    _, claimed = claims.settle_and_claim(conn, [], ClaimRequest(worker, uuid4(), marks, BATCH, BATCH))
    return len(claimed.jobs)


TABLES = [PageTable(figure("ms a claim", "ms_per_claim", 2))]
TARGETS = [
    at_least(f"{what} / nothing else", ratio("jobs_per_second", f"haulier-{name}", "haulier-only"), 0.9)
    for name, what in (
        ("deferred", "1 M deferred"),
        ("other-queue", "1 M in another queue"),
        ("ready", "1 M ready"),
        ("finished", "10 M finished"),
    )
]
