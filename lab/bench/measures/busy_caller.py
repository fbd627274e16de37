"""How callers that keep the service busy, without large bodies, affect all others."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from lab.bench.abuse import abused
from lab.bench.contenders.haulier import PYTHON, Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.enqueue import answers
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, ratio
from lab.servers import connect, free_port
from lab.waiting import ROOT, alive, environment, pause, processes, until

NAME = "busy_caller"
TITLE = "Another caller's jobs, 20 a second, beside callers that keep the service busy"

PER_SECOND, SECONDS, SEED = 20, 20.0, 1
# How many connections each has, and what it does; each is compared with as many that make cheap calls.
BUSY = {
    "dry_runs": (24, "24 previews of 120,000 jobs"),
    "searches": (24, "24 searches of 100,000 groups of errors"),
    "scrapes": (8, "8 scrapers of the metrics"),
    "sign_ins": (3, "3 sign-ins with wrong keys"),
}
QUEUE = "ours"
INSERT = "INSERT INTO haulier.job (kind, payload, queue) VALUES ('noop', jsonb_build_object('n', %s), %s)"
FILL = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', jsonb_build_object('n', n), 'q' || mod(n, 50), now() + interval '1 day'
    FROM generate_series(1, 120000) AS n;
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'noop', 'ConnectTimeout: ' || repeat('hooks.example.net did not answer; ', 3) || n, 'x',
        haulier.uuidv7(), 'q1', now() - interval '8 days'
    FROM generate_series(1, 100000) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_trunc('minute', now()) - interval '5 minutes', 'q1', 0, 1, 1 FROM generate_series(1, 100000) AS n;
    ANALYZE
"""


def entries() -> list[Entry]:
    """Return the caller beside each of these, and before it beside as many that make cheap calls."""
    rows = []
    for move, (connections, label) in BUSY.items():
        for name, text, made in ((f"gets-{move}", f"{connections} callers of GET /kinds", "gets"), (move, label, move)):
            settings = {"per_second": PER_SECOND, "seconds": SECONDS, "seed": SEED, "connections": connections}
            rows.append(Entry(name, f"beside {text}", partial(once, made, connections), settings=settings))
    return rows


def once(move: str, connections: int, bench: Bench) -> Figures:
    """Let a caller enqueue at an even pace beside others that make this call, and look at its answers."""
    seconds = max(2.0, SECONDS * bench.scale)
    with Haulier().home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        good, busy = _key(url, "good", "enqueue"), _key(url, "busy", "admin")
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute(FILL)
        port = free_port()
        with (
            _service(url, port, Path(folder)),
            abused(port, busy, seed=SEED, threads=connections, moves=[move]) as said,
            closing(Posts(port, good)) as posts,
            inserts(url, seconds) as inserted,
        ):
            took = paced(posts, seconds)
    return {
        "failed": posts.failed,
        **percentiles("post", took),
        **percentiles("insert", inserted),
        "abuses_answered": sum(said.values()),
    }


@contextmanager
def _service(url: str, port: int, folder: Path) -> Iterator[None]:
    """Run an API and a worker with default settings."""
    env = {
        "DATABASE_URL": url,
        "HAULIER_KINDS": "lab.bench.kinds",
        "PYTHONPATH": str(ROOT),
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "WORKER_METRICS_PORT": str(free_port()),
    }
    commands = [[PYTHON, "-m", "gunicorn", "app:create_app()"], [PYTHON, "worker.py"]]
    with processes(commands, env, log=folder / "log") as started:
        until(alive(started, partial(answers, port, "/health")), within=30, what="the API answers")
        yield


def paced(call: Callable[[int], None], seconds: float) -> list[float]:
    """Make one call after the other, and return how long each took.

    A call that is late begins at once, and its time counts from when it was due, so that a stall is counted in full.
    """
    took = []
    began = time.monotonic()
    for n in range(1, int(seconds * PER_SECOND) + 1):
        due = began + n / PER_SECOND
        pause(max(0.0, due - time.monotonic()))
        call(n)
        took.append(time.monotonic() - due)
    return took


class Posts:
    """One caller's POSTs. `failed` counts the calls that were not accepted."""

    def __init__(self, port: int, token: str) -> None:
        self._conn = HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.failed = 0

    def __call__(self, n: int) -> None:
        """Enqueue one job."""
        job = {"kind": "noop", "payload": {"n": n}, "queue": QUEUE}
        try:
            self._conn.request("POST", "/jobs", json.dumps(job), self._headers)
            answer = self._conn.getresponse()
            answer.read()
            self.failed += answer.status != 201
        except OSError:
            self._conn.close()
            self.failed += 1

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()


@contextmanager
def inserts(url: str, seconds: float) -> Iterator[list[float]]:
    """Enqueue at the same pace by SQL during the block, without the API, to show what the database alone takes."""
    took: list[float] = []

    def insert() -> None:
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            took.extend(paced(lambda n: cursor.execute(INSERT, (n, QUEUE)), seconds))

    thread = threading.Thread(target=insert, name="inserts", daemon=True)
    thread.start()
    yield took
    thread.join()


def percentiles(name: str, seconds: Sequence[float]) -> Figures:
    """Return the median and the 99th percentile. Units: milliseconds."""
    ordered = sorted(max(0.0, 1000 * each) for each in seconds) or [0.0]
    return {
        f"{name}_p50_ms": round(statistics.median(ordered), 2),
        f"{name}_p99_ms": round(ordered[len(ordered) * 99 // 100], 2),
    }


def _key(url: str, name: str, scope: str) -> str:
    command = [PYTHON, "-m", "haulier", "keys", "create", "--name", name, "--scopes", scope]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment(), "DATABASE_URL": url}, check=True, capture_output=True, text=True
    )
    return next(word for word in done.stdout.split() if word.startswith("hlr_"))


TABLES = [
    PageTable(
        figure("POST p50 ms", "post_p50_ms", 1),
        figure("p99 ms", "post_p99_ms", 1),
        figure("INSERT p99 ms", "insert_p99_ms", 1),
        figure("not taken", "failed"),
        rows=lambda result: [row for row in result.rows if row.name in BUSY or not row.figures],
    )
]
TARGETS = [
    at_most(f"{label} / GET /kinds", ratio("post_p99_ms", move, f"gets-{move}"), 3) for move, (_, label) in BUSY.items()
]
