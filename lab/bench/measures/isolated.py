"""What an isolated kind costs: the rate beside a plain kind, the first run, each further run, a child's memory."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from haulier.config import Config
from haulier.kinds import JobContext, load_kinds
from haulier.testing.performed import first_run
from haulier.worker.isolation.children import Children
from haulier.worker.steps.execute import run_one
from lab.bench.contenders.haulier import Haulier, fill
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.tables import PageTable, figure
from lab.bench.targets import Target
from lab.descendants import children as processes_of

NAME = "isolated"
TITLE = "No-op jobs of an isolated kind beside plain ones, 16 threads"

JOBS, RUNS = 20_000, 2_000
SETTINGS = Config("postgres://unused", kinds=("lab.bench.kinds",), log_level="WARNING")


def entries() -> list[Entry]:
    """Return plain jobs, and isolated ones in one, two and four children."""
    rows = [("plain", "Plain", "noop", 2)]
    rows += [(f"isolated-{n}", f"Isolated, ISOLATED_PROCESSES={n}", "noop_isolated", n) for n in (1, 2, 4)]
    return [
        Entry(name, label, partial(once, kind, children), settings={"threads": 16, "children": children})
        for name, label, kind, children in rows
    ]


def once(kind: str, children: int, bench: Bench) -> Figures:
    """Run jobs one by one without a database, the first of which starts a child; then let a worker drain a backlog."""
    worker, jobs = Haulier(settings={"ISOLATED_PROCESSES": str(children)}), bench.jobs(JOBS, least=200)
    figures = _by_itself(kind)
    with worker.home(bench.server) as url:
        fill(url, jobs, kind=kind)
        bench.server.settle(url)
        with worker.watching(url) as watch:
            seconds = timed(worker, url, watch)
    return {"jobs": jobs, "jobs_per_second": round(jobs / seconds, 1), **figures}


def _by_itself(name: str) -> Figures:
    kind = load_kinds(SETTINGS)[name]
    with closing(Children(SETTINGS)) as children:

        def run() -> None:
            if kind.isolated:
                children.take_place()
            outcome = run_one(kind, JobContext(first_run(name, {"n": 1}), SETTINGS), children.run)
            if outcome.error is not None:
                raise RuntimeError(outcome.error)

        first = _seconds(run)
        others = [_seconds(run) for _ in range(RUNS)]
        # Without the reaper, whose child runs the jobs.
        memory = [_memory(child) for reaper in children.pids() for child in processes_of(reaper)]
    return {
        "first_ms": round(1000 * first, 2),
        "each_us": round(1_000_000 * statistics.median(others), 1),
        "child_mb": memory[0] if memory else None,
    }


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _memory(pid: int) -> float:
    """Return the resident memory of a process. Units: megabytes of 2**20 bytes."""
    listed = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return round(int(listed) / 1024, 1)


TABLES = [
    PageTable(
        figure("jobs/s", "jobs_per_second"),
        figure("first run, ms", "first_ms", 1),
        figure("each further run, µs", "each_us"),
        figure("memory of a child, MB", "child_mb"),
    )
]
TARGETS: list[Target] = []
