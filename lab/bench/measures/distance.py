"""What distance costs: one worker on another host, with a round trip to the database of 0, 10 and 50 ms."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from haulier.version import version
from lab.bench import notes
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.tables import PageTable, figure
from lab.bench.targets import Target
from lab.hosts import Network, Reachable, hosts, why_no_hosts
from lab.servers import Connection, connect
from lab.waiting import alive, pause, until

NAME = "distance"
TITLE = "One worker process with 8 threads, far from the database"

ROUND_TRIPS = (0, 10, 50)
# The jobs of each drain: what one does, how many there are, and the figure of its rate.
DRAINS = (
    ("noop", "jsonb_build_object('n', n)", 30_000, "noop_per_second"),
    ("sleep", "jsonb_build_object('milliseconds', 20)", 2_000, "short_per_second"),
    ("sleep", "jsonb_build_object('milliseconds', 200)", 240, "long_per_second"),
)
FILL = "INSERT INTO haulier.job (kind, payload) SELECT '{kind}', {payload} FROM generate_series(1, %s) AS n"
LONE, WARM_UP, PAUSE_SECONDS = 30, 5, 0.25
LONE_JOB = "INSERT INTO haulier.job (kind, payload) VALUES ('started', jsonb_build_object('n', %s))"
# From the INSERT to the claim, and when the job has ended, both by the database's clock, which is this machine's.
CLAIMED = """
    SELECT (payload ->> 'n')::integer, extract(epoch FROM created_at)::float, extract(epoch FROM started_at)::float,
        extract(epoch FROM finished_at)::float
    FROM haulier.finished_job
    WHERE kind = 'started'
"""


def entries() -> list[Entry]:
    """Return a row for each distance."""
    missing = why_no_hosts()
    return [
        Entry(
            f"haulier-{ms}-ms",
            f"Haulier, {ms} ms away" if ms else "Haulier, beside it",
            partial(once, ms),
            missing,
            version(),
        )
        for ms in ROUND_TRIPS
    ]


def once(milliseconds: int, bench: Bench) -> Figures:
    """Drain jobs of three lengths, then run lone ones."""
    figures: dict[str, float] = {}
    with hosts(1, round_trip=milliseconds / 1000) as network, reachable(network) as server:
        worker = Haulier(threads=8, before=network.on(0))
        for number, (kind, payload, many, rate) in enumerate(DRAINS):
            near, far = server.make_database(f"drain_{number}")
            jobs = bench.jobs(many, least=100)
            _fill(near, FILL.format(kind=kind, payload=payload), jobs)
            with worker.watching(near) as watch:
                before = network.statements(0)
                figures[rate] = round(jobs / timed(worker, far, watch), 1)
            figures[f"{rate}_statements"] = network.statements(0) - before
        return {**figures, **_lone(bench, worker, *server.make_database("lone"))}


@contextmanager
def reachable(network: Network) -> Iterator[Reachable]:
    """Yield a server with durable commits that the hosts of this network reach."""
    folder = Path(tempfile.mkdtemp(prefix="haulier-hosts-"))
    try:
        with Reachable(folder, network.address) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(url: str, statement: str, jobs: int) -> None:
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute(statement, (jobs,))
        cursor.execute("VACUUM ANALYZE")


def _lone(bench: Bench, worker: Haulier, near: str, far: str) -> Figures:
    path, jobs = bench.folder / f"distance-{time.monotonic_ns()}", bench.turns(LONE, least=5)
    with worker.working(far, notes=path) as started, closing(connect(near)) as conn:
        _enqueue(conn, range(WARM_UP))
        until(alive(started, lambda: len(notes.read(path)) >= WARM_UP), within=60, what="the first jobs have run")
        # A worker that was busy asks to be woken again only after five seconds.
        pause(bench.seconds(6.0))
        _enqueue(conn, range(WARM_UP, WARM_UP + jobs))
        ended = partial(_ended, conn)
        until(lambda: len(ended()) == WARM_UP + jobs, within=60, what="every job has ended")
        # All processes of a machine have the same monotonic clock.
        began = {note.n: note.at + time.time() - time.monotonic() for note in notes.read(path)}
        lone = [(began[n], *times) for n, *times in ended() if n >= WARM_UP]
    return {
        "wake_up_ms": _median([claimed - created for _, created, claimed, _ in lone]),
        "start_ms": _median([began - created for began, created, _, _ in lone]),
        "settle_ms": _median([finished - began for began, _, _, finished in lone]),
    }


def _enqueue(conn: Connection, numbers: range) -> None:
    for n in numbers:
        with conn.cursor() as cursor:
            cursor.execute(LONE_JOB, (n,))
        pause(PAUSE_SECONDS)


def _ended(conn: Connection) -> list[tuple[int, float, float, float]]:
    with conn.cursor() as cursor:
        cursor.execute(CLAIMED)
        return cursor.fetchall()


def _median(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 1)


TABLES = [
    PageTable(
        figure("no-op jobs/s", "noop_per_second"),
        figure("jobs of 20 ms, per s", "short_per_second"),
        figure("jobs of 200 ms, per s", "long_per_second"),
        figure("lone job: claimed after, ms", "wake_up_ms", 1),
        figure("started after", "start_ms", 1),
        figure("stored after its end", "settle_ms", 1),
    )
]
TARGETS: list[Target] = []
