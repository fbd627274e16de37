"""How much memory a worker takes over a million jobs."""

from __future__ import annotations

import subprocess
from contextlib import closing
from functools import partial

from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.servers import Connection, ask, connect
from lab.waiting import alive, until

NAME = "memory"
TITLE = "Memory of a worker over 1 M jobs, 16 threads"

JOBS, PARTS = 1_000_000, 10
PART_SECONDS = 900.0
MARKS = "SELECT id::text FROM haulier.job ORDER BY run_at, id OFFSET %s LIMIT 1"


def entries() -> list[Entry]:
    """Return Haulier."""
    return [Entry("haulier", "Haulier, 1 process", once, settings={"threads": 16}, at_most=1)]


def once(bench: Bench) -> Figures:
    """Note the memory after each tenth of the jobs."""
    worker, jobs = Haulier(), bench.jobs(JOBS)
    with worker.home(bench.server) as url:
        worker.fill(url, jobs)
        bench.server.settle(url)
        with closing(connect(url)) as conn, worker.watching(url) as watch:
            marks = [ask(conn, MARKS, jobs * part // PARTS) for part in range(1, PARTS)]
            with worker.working(url) as started:
                megabytes = []
                for mark in marks:
                    is_gone = partial(_is_gone, conn, mark)
                    until(alive(started, is_gone), within=PART_SECONDS, what="the next tenth is settled")
                    megabytes.append(memory(started[0].pid))
                until(alive(started, watch.has_ended), within=PART_SECONDS, what="all jobs are settled")
                megabytes.append(memory(started[0].pid))
    return {
        "after_first_tenth_mb": megabytes[0],
        "most_mb": max(megabytes),
        "growth_mb": round(max(megabytes) - megabytes[0], 1),
    }


def _is_gone(conn: Connection, job_id: str) -> bool:
    return ask(conn, "SELECT 1 FROM haulier.job WHERE id = %s", job_id) is None


def memory(group: int) -> float:
    """Return the resident memory of the largest process of a process group. Units: megabytes of 2**20 bytes."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=True).stdout
    words = (line.split() for line in listed.splitlines())
    return round(max(int(rss) for pgid, rss in words if int(pgid) == group) / 1024, 1)


TABLES = [
    PageTable(
        figure("after 100,000 jobs, MB", "after_first_tenth_mb", 1),
        figure("at most, MB", "most_mb", 1),
        figure("growth over the last 900,000, MB", "growth_mb", 1),
    )
]
TARGETS = [
    at_most("RSS of the process, MB", figure_of("haulier", "most_mb"), 90),
    at_most("growth over the last 900,000, MB", figure_of("haulier", "growth_mb"), 5),
]
