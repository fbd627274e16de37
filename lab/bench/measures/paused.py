"""Whether a queue is drained as fast beside paused queues full of due jobs as without them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial

from lab.bench.contenders.contender import Table
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.report import figure, table, targets
from lab.bench.results import Result
from lab.servers import connect

NAME = "paused"
TITLE = "Drain of 100,000 no-op jobs beside 100 paused queues of 10,000 due jobs each"

JOBS, QUEUES, JOBS_OF_A_QUEUE = 100_000, 100, 10_000
BESIDE = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', jsonb_build_object('n', n), 'beside-' || n %% %s, now() + %s::interval
    FROM generate_series(1, %s) AS n
"""
PAUSE = "SELECT haulier.pause_queue('beside-' || n, NULL, NULL) FROM generate_series(0, %s - 1) AS n"
OURS = Table("haulier.job", ("run_at", "id"), "status = 'queued'", jobs="queue = 'default'")
# Each half by an index: a look at all jobs would take longer than the last claim.
ANY_LEFT = """
    SELECT 1
    WHERE EXISTS (
        SELECT FROM haulier.job WHERE status IN ('queued', 'retrying') AND NOT suspect AND queue = 'default'
    ) OR EXISTS (SELECT FROM haulier.job WHERE status = 'running')
"""


def entries() -> list[Entry]:
    """Return two processes of Haulier: alone, and beside as many jobs that are not due, or that are paused."""
    return [
        Entry("alone", "alone", partial(once, None)),
        Entry("deferred", "beside 1,000,000 jobs of tomorrow", partial(once, "1 day")),
        Entry("paused", "beside 1,000,000 due jobs of 100 paused queues", partial(once, "0")),
    ]


def once(due_in: str | None, bench: Bench) -> Figures:
    """Fill a fresh database, and time the workers from the first job taken to the last one settled."""
    worker, jobs = Haulier(processes=2), bench.jobs(JOBS, least=200)
    with worker.home(bench.server) as url, closing(connect(url)) as conn:
        with conn.cursor() as cursor:
            if due_in is not None:
                cursor.execute(BESIDE, (QUEUES, due_in, QUEUES * bench.jobs(JOBS_OF_A_QUEUE, least=10)))
            if due_in == "0":
                cursor.execute(PAUSE, (QUEUES,))
        worker.fill(url, jobs)
        bench.server.settle(url)
        watch = replace(OURS.watch(conn), any_unsettled=ANY_LEFT)
        seconds = timed(worker, url, watch)
    return {"jobs": jobs, "seconds": round(seconds, 4), "jobs_per_second": round(jobs / seconds, 1)}


def report(result: Result) -> str:
    """Return the table and the targets."""
    against = partial(result.ratio, "jobs_per_second", "paused")
    columns = [figure("jobs", "jobs"), figure("seconds", "seconds", 2), figure("jobs/s", "jobs_per_second")]
    lines = [
        ("paused / alone", against("alone"), ">=", 0.97),
        ("paused / of tomorrow", against("deferred"), ">=", 0.97),
    ]
    return "\n\n".join([table(result.rows, columns), targets(lines)])
