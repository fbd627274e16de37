"""How many single jobs a second `POST /jobs` accepts, beside the least that a Flask view can do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from lab.bench import load
from lab.bench.contenders.haulier import PYTHON, Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.enqueue import answers, serving
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.servers import free_port
from lab.waiting import ROOT, alive, processes, until

NAME = "post"
TITLE = "Single POST /jobs, 8 connections"
PLOT = Plot("per_second", "requests per second")

PROCESSES, THREADS, CONNECTIONS = 2, 4, 8
WARM_UP_SECONDS, SECONDS = 1.0, 5.0
BODY = '{"kind": "noop", "payload": {"n": 1}}'


@contextmanager
def bare(url: str) -> Iterator[int]:
    """Yield the port of the bare view, under the settings of gunicorn.conf.py, but with gunicorn's own worker class."""
    port = free_port()
    options = ["--worker-class=gthread", f"--workers={PROCESSES}", f"--threads={THREADS}", "--keep-alive=95"]
    if Path("/dev/shm").exists():
        options.append("--worker-tmp-dir=/dev/shm")
    # In a folder without gunicorn.conf.py, which gunicorn would read.
    with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        command = [
            PYTHON,
            "-m",
            "gunicorn",
            *options,
            f"--bind=127.0.0.1:{port}",
            "--no-control-socket",
            "lab.bench.bare:app",
        ]
        env = {"DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
        with processes([command], env, cwd=Path(folder)) as started:
            until(alive(started, partial(answers, port, "/health")), within=30, what="the bare view answers")
            yield port


def entries() -> list[Entry]:
    """Return Haulier and the bare view."""
    settings = {"processes": PROCESSES, "threads": THREADS, "connections": CONNECTIONS, "load": load.tool()}
    return [
        Entry("raw-view", "a bare Flask view", partial(once, bare), settings=settings),
        Entry(
            "haulier",
            "Haulier, POST /jobs",
            partial(once, partial(serving, processes_=PROCESSES, threads=THREADS)),
            settings=settings,
        ),
    ]


def once(served: Callable[[str], AbstractContextManager[int]], bench: Bench) -> Figures:
    """Send for some seconds, after a moment to warm up."""
    with Haulier().home(bench.server) as url:
        bench.server.settle(url)
        with served(url) as port:
            load.post(port, "/jobs", BODY, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
            return load.post(port, "/jobs", BODY, connections=CONNECTIONS, seconds=max(1, SECONDS * bench.scale))


TABLES = [PageTable(figure("requests/s", "per_second"), figure("p50 ms", "p50_ms", 2), figure("p99 ms", "p99_ms", 2))]
TARGETS = [at_least("Haulier / bare view", ratio("per_second", "haulier", "raw-view"), 0.85)]
