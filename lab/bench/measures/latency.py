"""How long a job waits on an idle worker: from the enqueue's commit to the first line of its handler."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from lab.bench import notes
from lab.bench.contenders import peers
from lab.bench.contenders.contender import NotingContender
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures, entry_for
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of, ratio
from lab.servers import connect
from lab.waiting import alive, until

NAME = "latency"
TITLE = "From the commit of a job to its start"
PLOT = Plot("p99_ms", "milliseconds, 99th percentile", logarithmic=True)

PER_SECOND, JOBS, WARM_UP = 50, 500, 25
POLL_MILLISECONDS = 1000.0

# One job a transaction, by the SQL that each contender documents, or (awa) that its own client sends.
ENQUEUE = {
    "haulier": "INSERT INTO haulier.job (kind, payload) VALUES ('started', jsonb_build_object('n', %s))",
    "graphile-worker": "SELECT graphile_worker.add_job('started', json_build_object('n', %s))",
    "awa": "SELECT id FROM awa.insert_job_compat('started', 'default', jsonb_build_object('n', %s))",
}


def entries() -> list[Entry]:
    """Return Haulier with wake-ups and without, and the peers that have wake-ups."""
    rows: list[tuple[NotingContender, str]] = [
        (Haulier("haulier", "Haulier"), "haulier"),
        (Haulier("haulier-poll", "Haulier, WAKE_UPS=off", settings={"WAKE_UPS": "off"}), "haulier"),
        # Without its local queue each worker fetches jobs for itself, which is quickest for a lone job.
        (replace(peers.graphile, options={"concurrency": 10, "localQueue": 0}), "graphile-worker"),
        (
            replace(peers.graphile, name="graphile-worker-local-queue", label="graphile-worker, local queue"),
            "graphile-worker",
        ),
        (replace(peers.awa_queue_storage, name="awa", label="awa"), "awa"),
    ]
    return [entry_for(each, partial(once, each, ENQUEUE[sql])) for each, sql in rows]


def once(contender: NotingContender, statement: str, bench: Bench) -> Figures:
    """Enqueue at an even pace, and compare the commits with the notes of the handlers."""
    jobs = max(20, int(JOBS * bench.scale))
    with contender.home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        bench.server.settle(url)
        path = Path(folder, "notes")
        with contender.working(url, notes=path) as started, closing(connect(url)) as conn, conn.cursor() as cursor:
            enqueue = partial(cursor.execute, statement)
            # A warm-up, also to be sure that the worker runs before anything counts.
            for n in range(WARM_UP):
                enqueue((n,))
            until(alive(started, lambda: len(notes.read(path)) >= WARM_UP), within=60, what="the first jobs have run")
            threading.Event().wait(1.5)
            committed = paced(enqueue, range(WARM_UP, WARM_UP + jobs))
            until(lambda: len(notes.read(path)) >= WARM_UP + jobs, within=60, what="every job has run")
        begun = {note.n: note.at for note in notes.read(path)}
    return summary([begun[n] - at for n, at in committed.items()])


def paced(enqueue: Callable[[tuple[int]], object], numbers: range) -> dict[int, float]:
    """Enqueue one job after the other and return when each was committed, by the machine's monotonic clock."""
    committed = {}
    began = time.monotonic()
    for place, n in enumerate(numbers):
        threading.Event().wait(max(0.0, began + place / PER_SECOND - time.monotonic()))
        enqueue((n,))
        committed[n] = time.monotonic()
    return committed


def summary(waits: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of some waits in seconds. A job that starts before its commit was answered counts as 0."""
    ordered = sorted(max(0.0, 1000 * wait) for wait in waits)
    return {
        "p50_ms": round(statistics.median(ordered), 3),
        "p90_ms": round(ordered[len(ordered) * 90 // 100], 3),
        "p99_ms": round(ordered[len(ordered) * 99 // 100], 3),
        "max_ms": round(ordered[-1], 3),
    }


TABLES = [PageTable(*[figure(f"{name} ms", f"{name}_ms", 2) for name in ("p50", "p99")])]
TARGETS = [
    at_most("p50 ms", figure_of("haulier", "p50_ms"), 5),
    at_most("p99 ms", figure_of("haulier", "p99_ms"), 25),
    at_most("p99 / graphile-worker's", ratio("p99_ms", "haulier", "graphile-worker"), 1),
    at_most("p50 / graphile-worker's", ratio("p50_ms", "haulier", "graphile-worker"), 1),
    at_most("p99 / awa's", ratio("p99_ms", "haulier", "awa"), 1),
    at_most("p50 / awa's", ratio("p50_ms", "haulier", "awa"), 1),
    at_most("p99 ms with WAKE_UPS=off", figure_of("haulier-poll", "p99_ms"), POLL_MILLISECONDS + 50),
]
