"""Shops as teams have them, in folders beside this file: their commands, their worker, and a Postgres to restart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haulier.local.embedded import Server
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import PATIENCE, eventually, sql_on
from tests.installed.conftest import pip, two_wheels  # noqa: F401  # fixtures
from tests.installed.environments import running

# They are run as a team runs them.
collect_ignore = ["django_shop", "flask_shop"]
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
DJANGO = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "HAULIER_KINDS": "kinds",
    "HAULIER_MIDDLEWARE": "haulier.contrib.django.worker:connections",
}
SQLALCHEMY = {"HAULIER_KINDS": "kinds", "HAULIER_MIDDLEWARE": "haulier.contrib.sqlalchemy:sessions"}
JOBS, THREADS = 40, 4


@dataclass
class Shop:
    """One shop, and the database that it shares with Haulier."""

    folder: Path
    dsn: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": f"{self.folder}:{ROOT}", "DATABASE_URL": self.dsn, **self.settings}

    def run(self, *command: str) -> str:
        """Run a program in the shop's folder, and return all that it printed."""
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def ask(self, text: str, *values: object) -> list[tuple]:
        with closing(connect(self.dsn, application_name="haulier test")) as conn:
            return sql_on(conn)(text, *values)

    @contextmanager
    def working(self, log: Path, **settings: object) -> Iterator[None]:
        """Run the shop's worker until it takes jobs, and to the end of the block."""
        given = {name: str(value) for name, value in settings.items()}
        environ = {**self.environ, "WORKER_METRICS_PORT": "0", "WORKER_THREADS": str(THREADS), **given}
        with running([sys.executable, "-m", "haulier", "worker"], self.folder, environ, log):
            eventually(lambda: "registered as worker" in log.read_text() or "working with" in log.read_text())
            yield

    def thank(self, jobs: int = JOBS) -> set[str]:
        """Make orders and a job for each, and return the ids of the jobs."""
        rows = self.ask(
            "WITH made AS (INSERT INTO shop_order (email, thanked) SELECT 'ann@example.com', false"
            " FROM generate_series(1, %s) RETURNING id) INSERT INTO haulier.job (kind, payload)"
            " SELECT 'thank', jsonb_build_object('order_id', id) FROM made RETURNING id::text",
            jobs,
        )
        return {row[0] for row in rows}

    def enqueue(self, kind: str, payload: dict[str, object], *, max_attempts: int = 3) -> str:
        """Enqueue a job by SQL, and return its id."""
        [(job,)] = self.ask(
            "INSERT INTO haulier.job (kind, payload, max_attempts) VALUES (%s, %s, %s) RETURNING id::text",
            kind,
            json.dumps(payload),
            max_attempts,
        )
        return str(job)

    def ends(self, jobs: set[str]) -> Counter[tuple[str, int]]:
        """Return how these jobs have ended: status and attempts, and how many of each."""
        found = self.ask("SELECT status, attempts FROM haulier.finished_job WHERE id::text = ANY (%s)", list(jobs))
        return Counter((str(status), attempts) for status, attempts in found)

    def all_ended(self, jobs: set[str]) -> Counter[tuple[str, int]]:
        """Wait until these jobs have ended, and return how."""
        eventually(lambda: self.ends(jobs).total() == len(jobs))
        return self.ends(jobs)

    def connections(self) -> Counter[str]:
        """Return how many connections each program has."""
        rows = self.ask(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return Counter(row[0] for row in rows)


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server of the test's own, which it may stop and start."""
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-shop-"))
    folder.chmod(0o755)
    try:
        with Server(folder, test=True) as server:
            with closing(connect(server.dsn)) as conn:
                sql_on(conn)("CREATE DATABASE shop")
            with closing(connect(shop_of(server))) as conn:
                migrate(conn, retention_days=30)
            yield server
    finally:
        shutil.rmtree(folder)


def shop_of(server: Server) -> str:
    return server.dsn.replace("/postgres?", "/shop?")


def restart(server: Server) -> None:
    """Stop the server as its provider does for an update, and start it again."""
    server.__exit__()
    server.__enter__()


Ends = Counter[tuple[str, int]]


def work_through_restarts(shop: Shop, server: Server) -> tuple[Ends, Ends, Ends, Counter[str], Counter[str]]:
    """Return how jobs ended before, after and during restarts, and the connections before and after."""
    first = shop.all_ended(shop.thank())
    before = shop.connections()
    # While nothing runs: each thread has a connection that it does not know to be dead.
    restart(server)
    idle = shop.all_ended(shop.thank())
    # Under load.
    jobs = shop.thank(10 * JOBS)
    eventually(lambda: shop.ends(jobs))
    restart(server)
    loaded = shop.all_ended(jobs)
    return first, idle, loaded, before, shop.connections()
