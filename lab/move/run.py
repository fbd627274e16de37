"""A move under load: nothing is lost or run twice, nobody restarts, and posts are answered again after seconds."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from lab.descendants import descendants
from lab.move.load import Load
from lab.move.stage import Pair, Probe
from lab.servers import ask, connect, free_port
from lab.waiting import processes, until

# Due during the move and after it, so that workers are busy with them all the time.
FILL_WAITING = """
    INSERT INTO haulier.job (kind, payload, run_at)
    SELECT 'noted', '{}', now() + n * %s * interval '1 s' / %s FROM generate_series(1, %s) AS n
"""
FILL_FINISHED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes, snoozes,
        cancel_requested, payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'succeeded', 'noted', 'default', 0, now(), 1, gen_random_uuid(), now(), 1, 3, 0, 0, false,
        '{"to": "ann@example.com", "order": 4711}', '[]', now(), now(), now()
    FROM generate_series(1, %s)
"""
WITHIN_SECONDS = 600.0


@dataclass(frozen=True)
class Size:
    """How much is moved. Units: waiting_seconds is the time over which the waiting jobs are due."""

    per_second: float
    workers: int
    waiting: int
    waiting_seconds: float
    finished: int
    load_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a move under load has shown. Units: seconds."""

    acknowledged: int
    refused: int
    waiting: int
    lost: int
    doubled: int
    both_wrote: bool
    restarted: int
    gap: float
    steady_gap: float
    prepare_seconds: float
    switch_seconds: float
    after_seconds: float


def move_under_load(pair: Pair, size: Size) -> Outcome:
    """Fill A, move it to B under load, and return what became of the jobs."""
    with closing(connect(pair.a_url)) as conn, conn.cursor() as cursor:
        cursor.execute(FILL_FINISHED, [size.finished])
        cursor.execute("VACUUM ANALYZE")
        cursor.execute(FILL_WAITING, [size.waiting_seconds, size.waiting, size.waiting])
        waiting = ask(conn, "SELECT array_agg(id::text) FROM haulier.job")
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="haulier-move-")))
        notes = folder / "notes"
        settings = {
            "DATABASE_URL": pair.both,
            "HAULIER_KINDS": "lab.move.kinds",
            "MOVE_NOTES": str(notes),
            "API_BIND_ADDR": f"127.0.0.1:{port}",
            "WORKER_METRICS_PORT": "0",
            "WORKER_THREADS": "4",
        }
        haulier = [sys.executable, "-m", "haulier"]
        commands = [[*haulier, "web"], *[[*haulier, "worker"]] * size.workers]
        started = stack.enter_context(processes(commands, settings, log=folder / "log"))
        until(lambda: _workers(pair.a_url) == size.workers, within=60, what="all workers have registered")
        probe = stack.enter_context(Probe({"a": pair.a_url, "b": pair.b_url}))
        with Load(port, size.per_second) as load:
            until(lambda: len(load.acknowledged) > size.per_second, within=60, what="posts are answered")
            # By now nothing has children that only belong to its start, such as git, which is asked for the version.
            before = _pids(started)
            began = time.monotonic()
            pair.run("prepare")
            pair.until_ready()
            prepared = time.monotonic()
            steady_gap = load.longest_gap()
            pair.run("switch")
            switched = time.monotonic()
            until(lambda: time.monotonic() > switched + size.load_seconds, within=WITHIN_SECONDS, what="it has run on")
        until(lambda: not _live(pair.b_url), within=WITHIN_SECONDS, what="all jobs have ended")
        after = _pids(started)
        runs = Counter(notes.read_text().split())
    expected = {*load.acknowledged, *waiting}
    with closing(connect(pair.b_url)) as conn:
        there = set(
            ask(conn, "SELECT array_agg(id::text) FROM haulier.jobs WHERE id = ANY(%s::uuid[])", list(expected))
        )
    times = sorted(load.acknowledged.values())
    return Outcome(
        acknowledged=len(load.acknowledged),
        refused=load.refused,
        waiting=len(waiting),
        lost=len(expected - there) + len(expected - runs.keys()),
        doubled=sum(1 for number in runs.values() if number > 1),
        both_wrote=probe.both_wrote(),
        restarted=len(before - after),
        gap=load.longest_gap(),
        steady_gap=steady_gap,
        prepare_seconds=prepared - began,
        switch_seconds=switched - prepared,
        after_seconds=min(at for at in times if at > switched) - switched,
    )


def _pids(started: Sequence[subprocess.Popen[bytes]]) -> set[int]:
    return {pid for process in started for pid in (process.pid, *descendants(process.pid))}


def _workers(url: str) -> int:
    with closing(connect(url)) as conn:
        return int(ask(conn, "SELECT count(*) FROM haulier.worker"))


def _live(url: str) -> int:
    with closing(connect(url)) as conn:
        return int(ask(conn, "SELECT count(*) FROM haulier.job"))
