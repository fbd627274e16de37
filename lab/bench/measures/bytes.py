"""Whether a worker keeps within 512 MB whatever its jobs hold."""

from __future__ import annotations

import base64
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, greatest
from lab.servers import ask, connect
from lab.waiting import pause

NAME = "bytes"
TITLE = "3,000 jobs with much in them, by a worker that may have 512 MB"

JOBS, THREADS = 3000, 8
LIMIT_MB = 512
# Then a repetition ends with jobs left: a worker that is killed again and again runs its jobs one by one.
AT_MOST_SECONDS = 120.0
LOOK_SECONDS = 0.01

# The size of a payload; the API accepts 256 KiB.
BYTES = 250_000
KEPT_ERRORS = 20

FILL = """
    INSERT INTO haulier.job (kind, payload, attempts, max_attempts, errors)
    SELECT %(kind)s, {payload}, jsonb_array_length(former.errors), 1000, former.errors
    FROM generate_series(1, %(jobs)s) AS n
    CROSS JOIN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', attempt, 'at', now(), 'error', error)), '[]') AS errors
        FROM generate_series(1, %(errors)s) AS attempt
        CROSS JOIN left(%(text)s, 4000) AS error
    ) AS former
"""

# SQL for the payload of job number n. RANDOM rotates the text by some letters for each job, so that no two are alike.
TINY = "jsonb_build_object('n', n, 'data', NULL)"
RANDOM = """
    jsonb_build_object('n', n, 'data', substr(%(text)s, n * 83 %% 240000 + 1) || left(%(text)s, n * 83 %% 240000))
"""
LETTER = "jsonb_build_object('n', n, 'data', repeat('x', %(bytes)s))"
# A constant, even the number in it: making one such value takes the server some ten milliseconds.
NESTED = """('{"n": 1, "data": [' || repeat('[],', %(bytes)s / 3 - 1) || '[]]}')::jsonb"""


def random_text(length: int) -> str:
    """Return text that cannot be compressed.

    In base64, which PostgreSQL soon gives up compressing. In hex it would find short matches all along, and take some
    ten milliseconds before it stores 250 KB uncompressed.
    """
    return base64.b64encode(os.urandom(length * 3 // 4)).decode()


@dataclass(frozen=True)
class Mix:
    """The kind, the payload, and how often each job has already failed, with an error of 4 KB each time."""

    kind: str = "heavy"
    payload: str = TINY
    errors: int = 0

    def fill(self, url: str, jobs: int) -> None:
        """Put such jobs into the table."""
        parameters = {
            "kind": self.kind,
            "jobs": jobs,
            "bytes": BYTES,
            "errors": self.errors,
            "text": random_text(BYTES),
        }
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute(FILL.format(payload=self.payload), parameters)


RANDOM_TEXT = Mix(payload=RANDOM)
ONE_LETTER = Mix(payload=LETTER)
# In these two, a worker cannot tell the size of the next jobs from the jobs so far.
EVERY_OTHER = Mix(payload=f"CASE WHEN n %% 2 = 0 THEN {TINY} ELSE {RANDOM} END")
TINY_FIRST = Mix(payload=f"CASE WHEN n <= %(jobs)s / 2 THEN {TINY} ELSE {RANDOM} END")
LONG_RESULTS = Mix("long_result")
LONG_ERRORS = Mix("long_error", errors=KEPT_ERRORS)
NESTED_LISTS = Mix(payload=NESTED)


MIXES = {
    "haulier-random": ("250 KB of random text", RANDOM_TEXT),
    "haulier-letter": ("250 KB of one letter", ONE_LETTER),
    "haulier-nested": ("250 KB of `[[],[],…]`", NESTED_LISTS),
    "haulier-every-other": ("every other job 250 KB", EVERY_OTHER),
    "haulier-tiny-first": ("tiny first, then 250 KB", TINY_FIRST),
    "haulier-results": ("results of 64 KB", LONG_RESULTS),
    "haulier-errors": ("20 earlier errors of 4 KB", LONG_ERRORS),
}


def entries() -> list[Entry]:
    """Return Haulier with each mix; the peak of memory is read from Linux's /proc."""
    missing = None if Path("/proc/self/status").exists() else "there is no /proc"
    settings = {"threads": THREADS, "limit_mb": LIMIT_MB, "LEASE_SECONDS": 2}
    return [
        Entry(name, label, partial(once, mix), missing, settings=settings, at_most=2)
        for name, (label, mix) in MIXES.items()
    ]


@dataclass
class Limit:
    """How much memory a worker may have, the most it had, and how often it was killed. Units: MB of 2**20 bytes."""

    megabytes: float
    most: float = 0.0
    kills: int = 0

    @contextmanager
    def on(self, pid: int) -> Iterator[None]:
        """Kill the process as soon as it has had more than the limit, as the kernel does in a cgroup.

        Judged by the peak that the kernel records, so that no peak between two looks is missed.
        """
        stopped = threading.Event()
        thread = threading.Thread(target=self._watch, args=(pid, stopped), name="limit", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _watch(self, pid: int, stopped: threading.Event) -> None:
        while True:
            peak = peak_megabytes(pid)
            self.most = max(self.most, peak)
            if peak > self.megabytes:
                self.kills += 1
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return
            # Checked after the look: the end may have come right after a peak.
            if stopped.is_set():
                return
            stopped.wait(LOOK_SECONDS)


def peak_megabytes(pid: int) -> float:
    """Return the most resident memory that a process has had; 0 when it is gone."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            return int(found[1]) / 1024
    return 0.0


def once(mix: Mix, bench: Bench) -> Figures:
    """Let a worker work, and start it again whenever it was killed."""
    # A short lease, so that the rescue after a kill comes soon.
    worker = Haulier(threads=THREADS, settings={"LEASE_SECONDS": "2"})
    jobs, limit = bench.jobs(JOBS, least=20), Limit(LIMIT_MB)
    with worker.home(bench.server) as url:
        mix.fill(url, jobs)
        bench.server.settle(url)
        with closing(connect(url)) as conn, worker.watching(url) as watch:
            deadline = time.monotonic() + AT_MOST_SECONDS
            began, over = None, deadline
            while not watch.has_ended() and time.monotonic() < deadline:
                with worker.working(url) as started, limit.on(started[0].pid):
                    while started[0].poll() is None and time.monotonic() < deadline:
                        if began is None and watch.has_begun():
                            began = time.monotonic()
                        if watch.has_ended():
                            over = time.monotonic()
                            break
                        pause(LOOK_SECONDS)
            seconds = over - (began or deadline - AT_MOST_SECONDS)
            ended = ask(conn, "SELECT count(*) FROM haulier.finished_job")
            crashes = ask(conn, "SELECT coalesce(sum(crashes), 0) FROM haulier.jobs")
    return {
        "jobs": jobs,
        "peak_mb": round(limit.most, 1),
        "kills": limit.kills,
        "crashes": int(crashes),
        "not_done": jobs - ended,
        "jobs_per_second": round(ended / seconds, 1),
    }


TABLES = [PageTable(figure("memory at most, MB", "peak_mb"), figure("jobs/s", "jobs_per_second"))]
TARGETS = [
    at_most("kills", greatest("kills", *MIXES), 0),
    at_most("memory at most, MB", greatest("peak_mb", *MIXES), LIMIT_MB),
    at_most("jobs not done", greatest("not_done", *MIXES), 0),
]
