"""How fast a backlog of jobs that do nothing is drained."""

from __future__ import annotations

import time
from functools import partial

from lab.bench.contenders import peers
from lab.bench.contenders.contender import Contender, Watch
from lab.bench.contenders.haulier import Haulier
from lab.bench.contenders.raw import Raw
from lab.bench.harness import Bench, Entry, Figures, entry_for
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.waiting import alive, until

NAME = "drain"
TITLE = "Drain of no-op jobs"
PLOT = Plot("jobs_per_second", "jobs per second")

JOBS = 100_000
# Slower contenders get fewer jobs: with all of them they would take longer than the others together.
FEWER = {"procrastinate": 3_000, "rq": 3_000, "celery": 10_000, "dramatiq": 20_000, "awa": 40_000, "bullmq": 60_000}
EVERY_SECONDS = 0.01
START_SECONDS, DRAIN_SECONDS = 60.0, 600.0


def entries() -> list[Entry]:
    """Return Haulier under several settings, and the peers."""
    off = {"WORKER_METRICS_PORT": "0"}
    ours: list[Contender] = [
        Raw(),
        Haulier("haulier-2", "Haulier, 2 processes", processes=2),
        Haulier("haulier-2-no-metrics", "Haulier, 2 processes, metrics off", processes=2, settings=off),
        Haulier(
            "haulier-2-lines", "Haulier, 2 processes, a log line a job", processes=2, settings={"LOG_LEVEL": "DEBUG"}
        ),
        Haulier("haulier-1", "Haulier, 1 process", processes=1),
    ]
    theirs = [
        peers.graphile,
        peers.pg_boss,
        peers.pgqueuer,
        peers.awa,
        peers.procrastinate,
        peers.bullmq,
        peers.dramatiq,
        peers.celery,
        peers.rq,
    ]
    return [entry_for(each, partial(once, each)) for each in [*ours, *theirs]]


def once(contender: Contender, bench: Bench) -> Figures:
    """Fill a fresh database, start the workers, and time them from the first job taken to the last one settled."""
    jobs = bench.jobs(FEWER.get(contender.name, JOBS), least=200)
    with contender.home(bench.server) as url:
        contender.fill(url, jobs)
        if url.startswith("postgres"):
            bench.server.settle(url)
        with contender.watching(url) as watch:
            seconds = timed(contender, url, watch)
    return {"jobs": jobs, "jobs_per_second": round(jobs / seconds, 1)}


def timed(contender: Contender, url: str, watch: Watch) -> float:
    """Return how long the workers took. Starting them does not count: the clock starts with the first claim seen."""
    with contender.working(url) as workers:
        until(alive(workers, watch.has_begun), within=START_SECONDS, every=EVERY_SECONDS, what="the first job is taken")
        began = time.perf_counter()
        until(alive(workers, watch.has_ended), within=DRAIN_SECONDS, every=EVERY_SECONDS, what="all jobs are settled")
        return time.perf_counter() - began


RATE = "jobs_per_second"
TABLES = [PageTable(figure("jobs/s", RATE))]
TARGETS = [
    at_least("2 processes / graphile-worker", ratio(RATE, "haulier-2", "graphile-worker"), 0.8),
    at_least("… with metrics off", ratio(RATE, "haulier-2-no-metrics", "graphile-worker"), 1.0),
    at_least("1 process / graphile-worker", ratio(RATE, "haulier-1", "graphile-worker"), 0.6),
    at_least("2 processes / PgQueuer", ratio(RATE, "haulier-2", "pgqueuer"), 2),
    at_least("2 processes / procrastinate", ratio(RATE, "haulier-2", "procrastinate"), 50),
]
