"""Whether a backlog takes longer when it is spread over many queues."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import EVERY_SECONDS, START_SECONDS
from lab.bench.results import Repetitions, Spread
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least
from lab.servers import ask, connect
from lab.waiting import TookTooLong, alive, until

NAME = "queues"
TITLE = "Drain of 10,000 no-op jobs, spread over 1 to 10,000 queues"

JOBS = 10_000
# Then a repetition ends, and the jobs left are counted: the rate is known by then.
AT_MOST_SECONDS = 120.0
QUEUES = (1, 10, 100, 1000, 10_000)
FILL = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'noop', jsonb_build_object('n', n), 'tenant-' || n %% %s FROM generate_series(1, %s) AS n
"""
# Counts, since with many queues any job may be claimed first. Expensive, but only used until the clock starts.
NONE_TAKEN = "SELECT 1 WHERE (SELECT count(*) FROM haulier.job WHERE status = 'queued') = %s"


def entries() -> list[Entry]:
    """Return one process of Haulier, for each number of queues."""
    return [
        Entry(f"haulier-{queues}", f"{queues:,} queue{'s' if queues > 1 else ''}", partial(once, queues))
        for queues in QUEUES
    ]


def once(queues: int, bench: Bench) -> Figures:
    """Fill a fresh database and time a worker, from the first job taken to the last one settled."""
    worker, jobs = Haulier(), bench.jobs(JOBS, least=200)
    with worker.home(bench.server) as url, closing(connect(url)) as conn:
        with conn.cursor() as cursor:
            cursor.execute(FILL, (queues, jobs))
        bench.server.settle(url)
        with worker.watching(url) as watch, worker.working(url) as started:
            watch = replace(watch, is_waiting=NONE_TAKEN, first=jobs)
            wait = partial(until, every=EVERY_SECONDS, what="the jobs are settled")
            wait(alive(started, watch.has_begun), within=START_SECONDS)
            began = time.perf_counter()
            with suppress(TookTooLong):
                wait(alive(started, watch.has_ended), within=AT_MOST_SECONDS)
            seconds = time.perf_counter() - began
            settled = ask(conn, "SELECT count(*) FROM haulier.finished_job")
    return {
        "jobs": jobs,
        "not_done": jobs - settled,
        "seconds": round(seconds, 4),
        "jobs_per_second": round(settled / seconds, 1),
    }


def evenness(repetitions: Repetitions) -> Spread | None:
    """Return the lowest rate of a repetition as a share of its highest; None unless every row has been measured."""
    rates = [repetitions.numbers(row, "jobs_per_second") for row in repetitions.taken]
    if not rates or not all(rates):
        return None
    return Spread.of([min(turn) / max(turn) for turn in zip(*rates, strict=False)])


TABLES = [PageTable(figure("not done", "not_done"), figure("jobs/s", "jobs_per_second"))]
TARGETS = [at_least("slowest / fastest", evenness, 0.5)]
