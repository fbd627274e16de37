"""Whether a worker goes on settling large jobs over a slow link to the database."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from lab.bench import heavy, notes
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.slow_link import slow_link
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, greatest
from lab.servers import Connection, ask, connect
from lab.waiting import alive, pause, until

NAME = "link"
TITLE = "3,000 jobs with much in them, over a link of 20 MB/s"

JOBS, THREADS = 3000, 8
BYTES_PER_SECOND = 20_000_000
# The transfer of the payloads alone takes 38 s.
AT_MOST_SECONDS = 150.0
LOOK_SECONDS = 0.05

MIXES = {
    "haulier": ("payloads of 250 KB", heavy.RANDOM_TEXT),
    "haulier-tiny-first": ("the first half tiny, then payloads of 250 KB", heavy.TINY_FIRST),
    "haulier-results": ("results of 64 KB", heavy.LONG_RESULTS),
}


def entries() -> list[Entry]:
    """Return Haulier with each mix."""
    settings = {"threads": THREADS, "bytes_per_second": BYTES_PER_SECOND}
    return [
        Entry(name, label, partial(once, mix), settings=settings, at_most=2) for name, (label, mix) in MIXES.items()
    ]


def once(mix: heavy.Mix, bench: Bench) -> Figures:
    """Let one worker work over the link, and count the settled jobs on a direct connection."""
    worker, jobs = Haulier(threads=THREADS), bench.jobs(JOBS, least=20)
    with worker.home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        path = Path(folder, "notes")
        mix.fill(url, jobs)
        bench.server.settle(url)
        with closing(connect(url)) as conn, slow_link(url, BYTES_PER_SECOND) as link:
            with worker.working(link.url, notes=path) as started:
                registered = "SELECT 1 FROM haulier.worker"
                until(alive(started, lambda: ask(conn, registered)), within=60, what="the worker has registered")
                began = time.monotonic()
                progress = list(settled(conn, jobs, began + AT_MOST_SECONDS))
            again = ask(conn, "SELECT sum(greatest(attempt - 1, 0)) FROM haulier.jobs")
            times = Counter(note.n for note in notes.read(path))
    done = progress[-1][1]
    return {
        "jobs": jobs,
        "not_done": jobs - done,
        "jobs_per_second": round(done / (progress[-1][0] - began), 1),
        "first_done_after_s": round(progress[1][0] - began, 2) if len(progress) > 1 else None,
        "longest_gap_s": round(longest_gap(began, progress), 2),
        "claimed_again": int(again),
        "run_again": sum(count - 1 for count in times.values()),
    }


def settled(conn: Connection, jobs: int, deadline: float) -> Iterator[tuple[float, int]]:
    """Yield the time and the number of settled jobs: first at once, then after each growth, at last at the end."""
    before = -1
    while True:
        done, now = int(ask(conn, "SELECT count(*) FROM haulier.finished_job")), time.monotonic()
        is_over = done >= jobs or now > deadline
        if done > before or is_over:
            before = done
            yield now, done
        if is_over:
            return
        pause(LOOK_SECONDS)


def longest_gap(began: float, progress: Sequence[tuple[float, int]]) -> float:
    """Return the longest time in which nothing was settled. Units: seconds."""
    # The first entry is from before any job was settled, and is no progress.
    instants = [began, *(at for at, _ in progress[1:])]
    return max((after - before for before, after in zip(instants, instants[1:], strict=False)), default=0.0)


TABLES = [
    PageTable(
        figure("jobs", "jobs"),
        figure("not done", "not_done"),
        figure("jobs/s", "jobs_per_second"),
        figure("first done after, s", "first_done_after_s", 2),
        figure("longest without progress, s", "longest_gap_s", 2),
        figure("claimed again", "claimed_again"),
        figure("run again", "run_again"),
    )
]
TARGETS = [
    at_most("seconds without progress, of all mixes", greatest("longest_gap_s", *MIXES), 5),
    at_most("jobs not done, of all mixes", greatest("not_done", *MIXES), 0),
]
