"""What it costs to say how far a job has come: jobs of a hundred steps that do so at each, and the same in silence."""

from __future__ import annotations

from functools import partial

from lab.bench.contenders.haulier import Haulier, fill
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio

NAME = "progress"
TITLE = "10,000 jobs of 100 steps, 16 threads, in silence and saying at each step how far they have come"

JOBS = 10_000


def entries() -> list[Entry]:
    """Return the jobs in silence and with a word at each step, and what neither steps nor words are worth."""
    rows = [("silent", "100 steps", "steps"), ("telling", "100 steps, a word at each", "steps_telling")]
    rows += [("empty", "100 empty steps", "turns"), ("words", "100 empty steps, a word at each", "turns_telling")]
    return [Entry(name, label, partial(once, kind), settings={"threads": 16}) for name, label, kind in rows]


def once(kind: str, bench: Bench) -> Figures:
    """Let a worker drain a backlog."""
    worker, jobs = Haulier(), bench.jobs(JOBS, least=200)
    with worker.home(bench.server) as url:
        fill(url, jobs, kind=kind)
        bench.server.settle(url)
        with worker.watching(url) as watch:
            seconds = timed(worker, url, watch)
    return {"jobs": jobs, "jobs_per_second": round(jobs / seconds, 1), "step_us": round(10_000 * seconds / jobs, 2)}


TABLES = [PageTable(figure("jobs", "jobs"), figure("jobs/s", "jobs_per_second"), figure("µs a step", "step_us", 1))]
TARGETS = [at_least("with a word at each step / in silence", ratio("jobs_per_second", "telling", "silent"), 0.9)]
