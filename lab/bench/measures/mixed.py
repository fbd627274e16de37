"""Whether one slow job holds up the quick ones: one of 30 s among 2,000 of 5 ms, 16 threads, one process."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from lab.bench import notes
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.servers import ask, connect
from lab.waiting import alive, until

NAME = "mixed"
TITLE = "One job of 30 s among 2,000 of 5 ms, 16 threads"

QUICK, QUICK_MILLISECONDS, SLOW_MILLISECONDS, THREADS = 2000, 5, 30_000, 16
# The slow job is near the start, where a claim brings it together with quick jobs, before most of them.
FILL = """
    INSERT INTO haulier.job (kind, payload)
    SELECT 'sleep', jsonb_build_object('milliseconds', CASE WHEN n = 100 THEN %s ELSE %s END)
    FROM generate_series(0, %s) AS n
"""


def entries() -> list[Entry]:
    """Return Haulier, with and without the slow job."""
    return [
        Entry("haulier-even", "Haulier, 2,001 quick jobs", partial(once, QUICK_MILLISECONDS)),
        Entry("haulier", "Haulier, one of them slow", partial(once, SLOW_MILLISECONDS)),
    ]


def once(slow_milliseconds: int, bench: Bench) -> Figures:
    """Time until only the slow job is left."""
    worker = Haulier(threads=THREADS, settings={"SHUTDOWN_SECONDS": "0"})
    left = 1 if slow_milliseconds > QUICK_MILLISECONDS else 0
    with worker.home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        path = Path(folder, "notes")
        with closing(connect(url)) as conn:
            with conn.cursor() as cursor:
                cursor.execute(FILL, (slow_milliseconds, QUICK_MILLISECONDS, QUICK))
            bench.server.settle(url)
            with worker.watching(url) as watch, worker.working(url, notes=path) as started:
                until(alive(started, watch.has_begun), within=60, every=0.002, what="the first job is taken")
                began = time.monotonic()
                count = "SELECT count(*) FROM haulier.job"
                until(lambda: ask(conn, count) <= left, within=25, every=0.01, what="the quick ones are settled")
                seconds = time.monotonic() - began
        last_start = max(note.at for note in notes.read(path)) - began
    ideal = QUICK * QUICK_MILLISECONDS / 1000 / (THREADS - left)
    return {
        "seconds": round(seconds, 3),
        "times_the_ideal": round(seconds / ideal, 3),
        "last_start_seconds": round(last_start, 3),
    }


TABLES = [
    PageTable(
        figure("seconds", "seconds", 2),
        figure("times the ideal", "times_the_ideal", 2),
        figure("last start after, s", "last_start_seconds", 2),
    )
]
TARGETS = [at_most("the 2,000, times the ideal", figure_of("haulier", "times_the_ideal"), 1.3)]
