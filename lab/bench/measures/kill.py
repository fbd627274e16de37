"""How many jobs are started a second time after kill -9 in the middle of a backlog."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from lab.bench import notes
from lab.bench.contenders import haulier
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of
from lab.servers import ask, connect
from lab.waiting import alive, until

NAME = "kill"
TITLE = "kill -9 in mid-batch"

JOBS, THREADS = 20_000, 16


def entries() -> list[Entry]:
    """Return Haulier."""
    return [Entry("haulier", "Haulier, 1 process", once, settings={"threads": THREADS, "LEASE_SECONDS": 2})]


def once(bench: Bench) -> Figures:
    """Kill a worker at a third of the jobs, let another finish them, and count from the notes."""
    jobs = bench.jobs(JOBS)
    # A short lease, so that the rescue after the kill comes soon.
    worker = Haulier(threads=THREADS, settings={"LEASE_SECONDS": "2"})
    with worker.home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        path = Path(folder, "notes")
        haulier.fill(url, jobs, kind="started")
        bench.server.settle(url)
        with closing(connect(url)) as conn, worker.watching(url) as watch:
            with worker.working(url, notes=path) as killed:
                until(alive(killed, lambda: len(notes.read(path)) >= jobs // 3), within=300, what="a third has run")
                os.killpg(killed[0].pid, signal.SIGKILL)
                killed[0].wait()
            started = {note.n for note in notes.read(path)}
            settled = ask(conn, "SELECT count(*) FROM haulier.finished_job")
            claimed = ask(conn, "SELECT count(*) FROM haulier.job WHERE status = 'running'")
            with worker.working(url, notes=path) as second:
                until(alive(second, watch.has_ended), within=300, what="the others are finished")
            times = Counter(note.n for note in notes.read(path))
            succeeded = ask(conn, "SELECT count(*) FROM haulier.finished_job WHERE status = 'succeeded'")
    unsettled, again = len(started) - settled, sum(1 for count in times.values() if count > 1)
    return {
        "claimed": claimed,
        "started_not_settled": unsettled,
        "started_again": again,
        "again_of_open": again / max(1, unsettled),
        "lost": jobs - succeeded,
    }


TABLES = [
    PageTable(
        figure("claimed at the kill", "claimed"),
        figure("started and not settled", "started_not_settled"),
        figure("started again", "started_again"),
        figure("lost", "lost"),
    )
]
TARGETS = [
    at_most("jobs lost", figure_of("haulier", "lost"), 0),
    at_most("started again / started and not settled", figure_of("haulier", "again_of_open"), 1),
]
