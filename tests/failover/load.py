"""Clients that post job after job while servers are lost, and what they and the workers saw."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import requests

from haulier.postgres.connection import connect
from tests.conftest import eventually, sql_on
from tests.rivals import beside
from tests.web import Server, gunicorn
from tests.worker.conftest import Ledger, spawning

CLIENTS = 6
KINDS = {"HAULIER_KINDS": "kinds_of_tests", "PYTHONPATH": str(Path(__file__).parents[1] / "worker")}


@dataclass
class Book:
    """What the clients were told, outside of Haulier. Units: when, by id, is of the monotonic clock."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    # How often each status came; 0: no answer.
    statuses: Counter[int] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def since(self, moment: float) -> list[float]:
        """Return when jobs were acknowledged after that moment, in order."""
        return sorted(when for when in list(self.acknowledged.values()) if when > moment)

    def longest_wait(self, since: float) -> float:
        """Return the longest time without an acknowledged job after that moment."""
        moments = [since, *self.since(since)]
        return max(later - earlier for earlier, later in pairwise(moments))

    def wait_for(self, jobs: int) -> None:
        """Wait until this many more jobs are acknowledged."""
        wanted = len(self.acknowledged) + jobs
        eventually(lambda: len(self.acknowledged) >= wanted)

    def post(self, url: str, pause: float) -> None:
        """Post job after job, each until it is acknowledged, as a client with idempotency keys does."""
        with requests.Session() as session:
            while not self.stopped.wait(pause):
                key = str(uuid4())
                while (found := self._try(session, url, key)) is None and not self.stopped.wait(0.05):
                    pass
                if found is not None:
                    self.acknowledged[found] = time.monotonic()

    def _try(self, session: requests.Session, url: str, key: str) -> str | None:
        job, status = {"kind": "t.note", "payload": {}}, 0
        with suppress(requests.RequestException):
            answer = session.post(f"{url}/jobs", json=job, headers={"Idempotency-Key": key}, timeout=20)
            status = answer.status_code
        with self._lock:
            self.statuses[status] += 1
        return str(answer.json()["id"]) if status in (200, 201) else None


@contextmanager
def load(server: Server, *, pause: float = 0.0) -> Iterator[Book]:
    """Post from several clients at once until it is left. Units: pause is what each client waits between two jobs."""
    book = Book()
    with beside(*[partial(book.post, server.url, pause)] * CLIENTS):
        try:
            yield book
        finally:
            book.stopped.set()


@contextmanager
def service(url: str, ledger: Ledger, folder: Path) -> Iterator[Server]:
    """Run an API and two workers on this database, which `haulier migrate` prepares."""
    subprocess.run([sys.executable, "-m", "haulier", "migrate"], env={**os.environ, "DATABASE_URL": url}, check=True)
    with ExitStack() as stack:
        server = stack.enter_context(gunicorn(url, eventually, **KINDS))
        spawn = stack.enter_context(spawning(url, url, ledger, folder))
        for _ in range(2):
            spawn(WORKER_THREADS=4, LEASE_SECONDS=30, LOG_LEVEL="INFO")
        yield server


def ends(dsn: str) -> dict[str, str]:
    """Return the status of each job, by its id."""
    with closing(connect(dsn)) as conn:
        return dict(sql_on(conn)("SELECT id::text, status FROM haulier.jobs"))


def begun_since(ledger: Ledger, moment: float) -> float | None:
    """Return when the first handler began after that moment, if any did."""
    return min((entry.at for entry in ledger.entries("start") if entry.at > moment), default=None)
