"""Haulier itself, as its worker and its API are started in production."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from haulier.postgres.connection import connect as own_connection
from haulier.queue.upkeep.migrate import migrate
from haulier.version import version_of
from lab.bench.contenders.contender import Table, TableWatch
from lab.servers import Connection, Postgres, ask, connect, free_port
from lab.waiting import ROOT, environment, processes

# Not the harness's own interpreter, whose environment has the peers' packages too.
PYTHON = str(ROOT / ".venv/bin/python") if (ROOT / ".venv/bin/python").exists() else sys.executable
FILL = "INSERT INTO haulier.job (kind, payload) SELECT %s, jsonb_build_object('n', n) FROM generate_series(1, %s) AS n"
NEXT = """
    SELECT (payload ->> 'n')::bigint FROM haulier.job
    WHERE status IN ('queued', 'retrying') AND NOT suspect AND queue = 'default'
    ORDER BY priority DESC, run_at, id LIMIT 1
"""
JOBS = Table("haulier.job", ("run_at", "id"), "status = 'queued'")


def prepare(url: str) -> None:
    """Apply the schema to an empty database."""
    with closing(own_connection(url)) as conn:
        migrate(conn, retention_days=30)


def prepare_of(checkout: Path, url: str) -> None:
    """Apply the schema of another checkout to an empty database."""
    command, env = [PYTHON, "-m", "haulier", "migrate"], {**environment(), "DATABASE_URL": url}
    subprocess.run(command, cwd=checkout, env=env, check=True, capture_output=True)


def code_of(checkout: Path) -> dict[str, str]:
    """Return the settings under which its programs run its own code, and the kinds of its benchmarks."""
    return {"HAULIER_KINDS": "lab.bench.kinds", "PYTHONPATH": str(checkout)}


def fill(url: str, jobs: int, *, kind: str = "noop") -> None:
    """Put jobs into the table by one INSERT."""
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute(FILL, (kind, jobs))


def next_job(conn: Connection) -> int:
    """Return the number of the next job of the queue `default`, the first of which is 1; 0 if none is left."""
    return ask(conn, NEXT) or 0


@dataclass(frozen=True)
class Haulier:
    """`python worker.py` under some settings."""

    name: str = "haulier"
    label: str = "Haulier"
    processes: int = 1
    threads: int = 16
    settings: Mapping[str, str] = field(default_factory=dict)
    checkout: Path = ROOT
    # The words before the command, such as those that run it on another host.
    before: Sequence[str] = ()

    def missing(self) -> str | None:
        """Return None: Haulier itself is always there."""
        return None

    def version(self) -> str:
        """Return the checkout's version."""
        return version_of(self.checkout)

    def home(self, server: Postgres) -> AbstractContextManager[str]:
        """Yield the URL of a fresh database with the schema in it."""
        if self.checkout == ROOT:
            return server.fresh("haulier", prepare)
        return server.fresh(f"haulier {self.name}", partial(prepare_of, self.checkout))

    def fill(self, url: str, jobs: int) -> None:
        """Put no-op jobs into the table."""
        fill(url, jobs)

    def enqueue(self, url: str, jobs: int) -> float:
        """Enqueue by the INSERT that an application would write."""
        began = time.perf_counter()
        fill(url, jobs)
        return time.perf_counter() - began

    @contextmanager
    def working(
        self, url: str, *, notes: Path | None = None, log: Path | None = None
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Yield running workers. One process object for each command that was started."""
        env = {
            "DATABASE_URL": url,
            **code_of(self.checkout),
            "WORKER_THREADS": str(self.threads),
            "WORKER_PROCESSES": str(self.processes),
            "WORKER_METRICS_PORT": str(free_port()),
            "BENCH_NOTES": str(notes or "/dev/null"),
            **self.settings,
        }
        with processes([[*self.before, PYTHON, "worker.py"]], env, cwd=self.checkout, log=log) as started:
            yield started

    @contextmanager
    def watching(self, url: str) -> Iterator[TableWatch]:
        """Yield a watch over the live table, which settled jobs have left."""
        with closing(connect(url)) as conn:
            yield JOBS.watch(conn)
