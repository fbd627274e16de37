"""Whether a drain slows down while another session holds a snapshot, so that no dead row can be removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from lab.bench.contenders import peers
from lab.bench.contenders.contender import Contender
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.servers import ask, connect
from lab.waiting import alive, until

NAME = "snapshot"
TITLE = "Drain beside a long transaction, second half"
PLOT = Plot("second_half_per_second", "jobs per second, second half")

JOBS = 300_000
WITHIN_SECONDS = 600.0
# A query for the job in the middle of the order of claims, and one for whether that job is not settled yet.
HALFWAY = {
    "haulier": (
        "SELECT id::text FROM haulier.job ORDER BY run_at, id OFFSET %s LIMIT 1",
        "SELECT 1 FROM haulier.job WHERE id = %s",
    ),
    "graphile-worker": (
        "SELECT id FROM graphile_worker._private_jobs ORDER BY run_at, id OFFSET %s LIMIT 1",
        "SELECT 1 FROM graphile_worker._private_jobs WHERE id = %s",
    ),
}


def entries() -> list[Entry]:
    """Return Haulier and graphile-worker, each without and with the snapshot."""
    rows: list[tuple[Contender, str, int]] = [
        (Haulier("haulier", "Haulier", processes=2), "haulier", 5),
        # One repetition: with a snapshot it takes minutes.
        (replace(peers.graphile, name="graphile-worker"), "graphile-worker", 1),
    ]
    return [
        Entry(
            contender.name + ("-held" if held else ""),
            contender.label + (", long transaction" if held else ""),
            partial(once, contender, HALFWAY[key], held),
            missing := contender.missing(),
            "" if missing else contender.version(),
            contender.settings,
            at_most,
        )
        for contender, key, at_most in rows
        for held in (False, True)
    ]


def once(contender: Contender, halfway: tuple[str, str], held: bool, bench: Bench) -> Figures:
    """Drain, and time both halves."""
    jobs = bench.jobs(JOBS)
    with contender.home(bench.server) as url:
        contender.fill(url, jobs)
        bench.server.settle(url)
        with (
            closing(connect(url)) as conn,
            holding_snapshot(url) if held else nullcontext(),
            contender.watching(url) as watch,
        ):
            middle = ask(conn, halfway[0], jobs // 2)
            with contender.working(url) as started:
                wait = partial(until, within=WITHIN_SECONDS, every=0.01, what="the jobs are settled")
                wait(alive(started, watch.has_begun))
                began = time.perf_counter()
                wait(alive(started, lambda: ask(conn, halfway[1], middle) is None))
                half = time.perf_counter()
                wait(alive(started, watch.has_ended))
                ended = time.perf_counter()
    return {
        "first_half_per_second": round(jobs / 2 / (half - began), 1),
        "second_half_per_second": round(jobs / 2 / (ended - half), 1),
    }


@contextmanager
def holding_snapshot(url: str) -> Iterator[None]:
    """Keep a transaction open that has taken a snapshot."""
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
        yield


TABLES = [
    PageTable(
        figure("jobs/s, second half", "second_half_per_second"),
    )
]
TARGETS = [
    at_least("with a long transaction / without", ratio("second_half_per_second", "haulier-held", "haulier"), 0.8),
]
