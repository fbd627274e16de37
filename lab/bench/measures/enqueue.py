"""How fast many jobs are enqueued, one call after the other."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.bench.contenders import peers
from lab.bench.contenders.contender import Contender
from lab.bench.contenders.haulier import PYTHON, Haulier, code_of
from lab.bench.contenders.raw import Raw
from lab.bench.harness import Bench, Entry, Figures, entry_for
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.servers import ask, connect, free_port
from lab.waiting import ROOT, alive, processes, until

NAME = "enqueue"
TITLE = "Enqueue of many jobs"
PLOT = Plot("jobs_per_second", "jobs per second")

JOBS = 100_000
FEWER = {"celery": 10_000, "dramatiq": 20_000, "procrastinate": 50_000, "rq": 20_000, "awa": 50_000}
LINES = 10_000

EMAIL = {"to": "ann@example.com", "subject": "Your picture is ready", "body": "It is below var/demo. " * 10}


@dataclass(frozen=True)
class OverHttp(Haulier):
    """Haulier's API under gunicorn."""

    job: Callable[[int], dict[str, Any]] = field(default=lambda n: {"kind": "noop", "payload": {"n": n}})

    def enqueue(self, url: str, jobs: int) -> float:
        """Send NDJSON of 10,000 jobs, one request at a time; making the bodies does not count."""
        lines = [json.dumps(self.job(n), separators=(",", ":")) for n in range(jobs)]
        bodies = ["\n".join(lines[at : at + LINES]).encode() for at in range(0, jobs, LINES)]
        with serving(url) as port:
            return send(port, bodies)


def send(port: int, bodies: Sequence[bytes]) -> float:
    """Send NDJSON on one connection, one request at a time, and return how long that takes. Units: seconds."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as api:
        began = time.perf_counter()
        for body in bodies:
            api.request("POST", "/jobs/batch", body, {"Content-Type": "application/x-ndjson"})
            answer = api.getresponse()
            said = answer.read()
            if answer.status != 201:
                raise RuntimeError(f"POST /jobs/batch: {answer.status} {said[:300]!r}")
        return time.perf_counter() - began


@contextmanager
def serving(url: str, processes_: int = 2, threads: int = 4, checkout: Path = ROOT) -> Iterator[int]:
    """Yield the port of a running API."""
    port = free_port()
    env = {
        "DATABASE_URL": url,
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "WEB_CONCURRENCY": str(processes_),
        "WEB_THREADS": str(threads),
        "SMTP_URL": "smtp://127.0.0.1:9",
        "MAIL_FROM": "bench@example.com",
        **code_of(checkout),
    }
    with processes([[PYTHON, "-m", "gunicorn", "app:create_app()"]], env, cwd=checkout) as started:
        until(alive(started, partial(answers, port, "/health")), within=30, what="the API answers")
        yield port


def answers(port: int, path: str) -> bool:
    """Return whether a server answers on that port."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as probe:
            probe.request("GET", path)
            return probe.getresponse().status < 500
    except OSError:
        return False


def entries() -> list[Entry]:
    """Return the raw limit, Haulier by HTTP and by INSERT, and the peers' own calls."""
    contenders: list[Contender] = [
        replace(Raw(), name="raw-copy", label="raw limit: COPY"),
        OverHttp("haulier-http", "Haulier, POST /jobs/batch, NDJSON of 10,000"),
        OverHttp(
            "haulier-http-email",
            "… of send_email",
            job=lambda n: {"kind": "send_email", "payload": EMAIL},
        ),
        Haulier("haulier-insert", "Haulier, INSERT … SELECT"),
        replace(peers.graphile, label="graphile-worker, addJobs of 1,000"),
        replace(peers.pg_boss, label="pg-boss, insert of 1,000"),
        replace(peers.pgqueuer, label="PgQueuer, enqueue of 1,000"),
        replace(peers.awa, label="awa, insert_many_copy of 1,000"),
        replace(peers.awa_queue_storage, label="awa, queue storage, enqueue_many_copy of 1,000"),
        replace(peers.procrastinate, label="procrastinate, batch_defer of 1,000"),
        replace(peers.bullmq, label="BullMQ, addBulk of 1,000"),
        replace(peers.rq, label="RQ, enqueue_many of 1,000"),
        replace(peers.dramatiq, label="Dramatiq, send"),
        replace(peers.celery, label="Celery, apply_async"),
    ]
    return [entry_for(each, partial(once, each)) for each in contenders]


def once(contender: Contender, bench: Bench) -> Figures:
    """Enqueue into a fresh database."""
    jobs = bench.jobs(FEWER.get(contender.name, JOBS), least=200)
    with contender.home(bench.server) as url:
        if url.startswith("postgres"):
            bench.server.settle(url)
        seconds = contender.enqueue(url, jobs)
        if isinstance(contender, (Haulier, Raw)):
            with closing(connect(url)) as conn:
                stored = ask(conn, "SELECT count(*) FROM haulier.job")
            if stored != jobs:
                raise RuntimeError(f"{stored} jobs are stored, not {jobs}")
    return {"jobs": jobs, "jobs_per_second": round(jobs / seconds, 1)}


TABLES = [PageTable(figure("jobs/s", "jobs_per_second"))]
TARGETS = [
    at_least("HTTP / graphile-worker's addJobs", ratio("jobs_per_second", "haulier-http", "graphile-worker"), 0.7)
]
