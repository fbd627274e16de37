"""What each mechanism of the worker buys: the same work with it and without it, in turns."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from lab.bench import heavy, notes
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.bytes import peak_megabytes
from lab.bench.report import figure, table
from lab.bench.results import Result
from lab.servers import connect
from lab.waiting import alive, pause, until

NAME = "mechanisms"
TITLE = "What each mechanism of the worker buys"

DRAINED, HEAVY, LONE = 60_000, 1_500, 150
# Clients that each enqueue one job after the other beside an idle worker, and for how long.
CLIENTS, INSERT_SECONDS = 12, 4.0
INSERT = "INSERT INTO haulier.job (kind, payload) VALUES (%s, jsonb_build_object('n', %s))"


def entries() -> list[Entry]:
    """Return each figure with all mechanisms, and without each mechanism that is meant to improve it."""
    whole = Haulier(processes=2)
    single = Haulier(threads=8)
    rows: list[tuple[str, str, Callable[[Haulier, Bench], Figures], Haulier]] = [
        ("drain", "drain, jobs/s", drain, whole),
        ("lone", "a lone job's start, ms", lone, single),
        ("insert", "INSERTs beside an idle worker, 1/s", insert, single),
        ("heavy", "1,500 jobs with results of 64 KB, most memory, MB", heavily, single),
    ]
    without = {
        "drain": ("claim_ahead", "prepared_statements"),
        "lone": ("prepared_statements", "wake_ups"),
        "insert": ("restlessness",),
        "heavy": ("two_heaps",),
    }
    found = []
    for name, label, take, worker in rows:
        found.append(Entry(name, f"{label}: as it is", partial(take, worker)))
        for mechanism in without[name]:
            found.append(
                Entry(
                    f"{name}-{mechanism}",
                    f"{label}: without {mechanism.replace('_', ' ')}",
                    partial(take, less(worker, mechanism)),
                )
            )
    return found


def less(worker: Haulier, mechanism: str) -> Haulier:
    """Return the worker without one mechanism."""
    if mechanism == "wake_ups":
        return replace(worker, settings={"WAKE_UPS": "off"})
    return replace(worker, program=("-m", "lab.bench.without", mechanism))


def drain(worker: Haulier, bench: Bench) -> Figures:
    """Drain a backlog. Units: jobs a second."""
    jobs = bench.jobs(DRAINED, least=500)
    with worker.home(bench.server) as url:
        worker.fill(url, jobs)
        bench.server.settle(url)
        with worker.watching(url) as watch, worker.working(url) as started:
            until(alive(started, watch.has_begun), within=60, every=0.01, what="the first job is taken")
            began = time.perf_counter()
            until(alive(started, watch.has_ended), within=300, every=0.01, what="all jobs are settled")
            return {"value": round(jobs / (time.perf_counter() - began), 1)}


@contextmanager
def idle(worker: Haulier, bench: Bench, folder: str) -> Iterator[tuple[str, Path]]:
    """Yield a database with a worker that has run a few jobs and has nothing to do."""
    with worker.home(bench.server) as url:
        path = Path(folder, "notes")
        with worker.working(url, notes=path) as started, closing(connect(url)) as conn, conn.cursor() as cursor:
            for n in range(20):
                cursor.execute(INSERT, ("started", n))
            until(alive(started, lambda: len(notes.read(path)) >= 20), within=60, what="the first jobs have run")
            pause(1.5)
            yield url, path


def lone(worker: Haulier, bench: Bench) -> Figures:
    """Enqueue a job now and then. Units: the median from the commit to the handler, milliseconds."""
    jobs = max(10, int(LONE * bench.scale))
    with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder, idle(worker, bench, folder) as (url, path):
        committed = {}
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            for n in range(100, 100 + jobs):
                cursor.execute(INSERT, ("started", n))
                committed[n] = time.monotonic()
                pause(0.02)
        until(lambda: committed.keys() <= {note.n for note in notes.read(path)}, within=60, what="every job has run")
        begun = {note.n: note.at for note in notes.read(path)}
    return {"value": round(statistics.median(1000 * (begun[n] - at) for n, at in committed.items()), 3)}


def insert(worker: Haulier, bench: Bench) -> Figures:
    """Enqueue from several clients, one job a transaction. Units: jobs a second."""
    seconds = max(0.5, INSERT_SECONDS * bench.scale)
    counts: list[int] = []

    def client(url: str, until_: float) -> None:
        done = 0
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            while time.monotonic() < until_:
                cursor.execute(INSERT, ("noop", 1))
                done += 1
        counts.append(done)

    with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder, idle(worker, bench, folder) as (url, _):
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=client, args=(url, deadline)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"value": round(sum(counts) / seconds, 1)}


def heavily(worker: Haulier, bench: Bench) -> Figures:
    """Run large jobs. Units: the most memory, megabytes of 2**20 bytes."""
    with worker.home(bench.server) as url:
        heavy.LONG_RESULTS.fill(url, bench.jobs(HEAVY, least=20))
        with worker.watching(url) as watch, worker.working(url) as started:
            until(alive(started, watch.has_ended), within=300, every=0.05, what="all jobs are settled")
            return {"value": round(peak_megabytes(started[0].pid), 1)}


def report(result: Result) -> str:
    """Return the table."""
    return table(result.rows, [figure("", "value", 1)])
