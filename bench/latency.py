"""Time from an enqueue's commit to the start of its handler, on an idle worker.

    python bench/latency.py [JOBS]

An embedded Postgres with durable commits, one worker process with its defaults, one job at a time. The clock is the
machine's monotonic one, read after the enqueue's commit and at the handler's first line; prints milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from app.domain.job import NewJob  # noqa: E402
from app.local.embedded import running  # noqa: E402
from app.queue import produce  # noqa: E402
from app.queue.connection import connect  # noqa: E402
from app.queue.migrate import migrate  # noqa: E402

KIND = """
import time
from marshmallow import Schema
from app.kinds import kind

@kind("bench.clock", schema=Schema)
def clock(context, payload):
    return time.monotonic()
"""


def main(jobs: int) -> None:
    """Measure that many jobs and print the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="haulier-bench-") as base,
        running(Path(base)) as url,
    ):
        Path(folder, "bench_clock.py").write_text(KIND)
        with closing(connect(url)) as conn:
            migrate(conn, retention_days=30)
            environ = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": folder, "HAULIER_KINDS": "bench_clock"}
            environ["WORKER_METRICS_PORT"] = "0"
            worker = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
            try:
                measure(conn, 10)
                print(json.dumps(summary(measure(conn, jobs)), indent=2))
            finally:
                worker.terminate()
                worker.wait()


def measure(conn: object, jobs: int) -> list[float]:
    """Return, for each job, the seconds from its commit to its handler."""
    waits = []
    for _ in range(jobs):
        # The worker has to have fallen asleep, and not at the same point of its poll each time.
        threading.Event().wait(random.uniform(0.02, 0.2))
        [receipt] = produce.enqueue(conn, [NewJob("bench.clock", {})])
        committed = time.monotonic()
        while not (job := produce.get(conn, receipt.job.id)).status.is_final:
            threading.Event().wait(0.005)
        waits.append(job.result - committed)
    return waits


def summary(waits: list[float]) -> dict[str, float]:
    """Return what is published. Units: milliseconds."""
    ordered = sorted(1000 * wait for wait in waits)
    return {
        "jobs": len(ordered),
        "p50_ms": round(statistics.median(ordered), 2),
        "p90_ms": round(ordered[int(0.90 * len(ordered))], 2),
        "p99_ms": round(ordered[int(0.99 * len(ordered))], 2),
        "max_ms": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
