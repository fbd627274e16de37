"""Jobs of 200 ms: whether all threads stay busy, and whether a second worker that starts gets its share."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

from lab.bench import notes
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, at_most, figure_of
from lab.servers import Connection, ask, connect
from lab.waiting import alive, pause, until

NAME = "slow_jobs"
TITLE = "Jobs of 200 ms, 16 threads, and a second worker that joins"

MILLISECONDS, THREADS = 200, 16
JOBS_ALONE, ALONE_SECONDS, JOINED_SECONDS = 4000, 6.0, 4.0
FILL = """
    INSERT INTO haulier.job (kind, payload)
    SELECT 'sleep', jsonb_build_object('milliseconds', %s) FROM generate_series(1, %s)
"""


def entries() -> list[Entry]:
    """Return Haulier."""
    return [Entry("haulier", "Haulier", once, settings={"threads": THREADS})]


def once(bench: Bench) -> Figures:
    """Let one worker run for a while, then a second one beside it; the notes show which worker started which job."""
    worker = Haulier(threads=THREADS, settings={"SHUTDOWN_SECONDS": "0"})
    with worker.home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        path = Path(folder, "notes")
        with closing(connect(url)) as conn, worker.working(url, notes=path) as first:
            until(alive(first, lambda: _workers(conn) == 1), within=60, what="the first worker has registered")
            with conn.cursor() as cursor:
                cursor.execute(FILL, (MILLISECONDS, JOBS_ALONE))
            until(lambda: notes.read(path), within=30, what="the first job has started")
            pause(ALONE_SECONDS)
            with worker.working(url, notes=path) as second:
                until(
                    alive(second, lambda: _workers(conn) == 2), within=60, every=0.005, what="the second has registered"
                )
                joined = time.monotonic()
                pause(JOINED_SECONDS)
                taken = notes.read(path)
    return figures(taken, joined)


def figures(taken: list[notes.Note], joined: float) -> Figures:
    """Return the figures that follow from the notes."""
    began = min(note.at for note in taken)
    # Without the first second, in which the worker finds its pace, and the last, in which the second worker starts up.
    alone = [note for note in taken if began + 1 <= note.at < began + ALONE_SECONDS - 1]
    # Jobs start in waves of one for each thread: count whole waves, from a start to the same place in a later wave.
    starts = sorted(note.at for note in alone)
    waves = (len(starts) - 1) // THREADS
    rate = waves * THREADS / (starts[waves * THREADS] - starts[0])
    ideal = THREADS / (MILLISECONDS / 1000)
    first = {note.pid for note in alone}
    others = [note for note in taken if note.pid not in first]
    share = [note for note in taken if joined + 1 <= note.at < joined + JOINED_SECONDS]
    theirs = sum(note.pid not in first for note in share)
    full = sorted(note.at for note in others)[THREADS - 1] - joined if len(others) >= THREADS else None
    return {
        "of_ideal": round(rate / ideal, 4),
        "share_after_1_s": round(theirs / len(share), 4) if share else 0.0,
        "all_threads_busy_after_s": None if full is None else round(max(0.0, full), 3),
    }


def _workers(conn: Connection) -> int:
    return int(ask(conn, "SELECT count(*) FROM haulier.worker"))


TABLES = [
    PageTable(
        figure("of the ideal rate", "of_ideal", 3),
        figure("second worker's share after 1 s", "share_after_1_s", 3),
        figure("… all its threads at work after, s", "all_threads_busy_after_s", 3),
    )
]
TARGETS = [
    at_least("of the ideal rate", figure_of("haulier", "of_ideal"), 0.95),
    at_least("second worker's share after 1 s", figure_of("haulier", "share_after_1_s"), 0.45),
    at_most("all its threads at work after, s", figure_of("haulier", "all_threads_busy_after_s"), 1),
]
