"""When the primary is lost under load and its synchronous standby takes over, ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from haulier.domain.errors import DatabaseUnavailable, ReadOnly
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.errors import translated
from haulier.queue.health import overview
from haulier.queue.upkeep.migrate import migrate
from tests import queueing
from tests.conftest import PATIENCE, eventually
from tests.web import Server, gunicorn
from tests.worker.conftest import Ledger

CLIENTS = 6
KINDS = {"HAULIER_KINDS": "kinds_of_tests", "PYTHONPATH": str(Path(__file__).parents[1] / "worker")}
# From the loss to the promotion, as if somebody had to be sure first.
DECISION_SECONDS = 1.0


@dataclass
class Book:
    """What the clients were told, outside of Haulier. Units: when, by id, is of the monotonic clock."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)

    def since(self, moment: float) -> list[float]:
        """Return when jobs were acknowledged after that moment, in order."""
        return sorted(when for when in list(self.acknowledged.values()) if when > moment)

    def post(self, url: str) -> None:
        """Post job after job, each until it is acknowledged, as a client with idempotency keys does."""
        with requests.Session() as session:
            while not self.stopped.is_set():
                key = str(uuid4())
                while (found := self._try(session, url, key)) is None and not self.stopped.wait(0.05):
                    pass
                if found is not None:
                    self.acknowledged[found] = time.monotonic()

    def _try(self, session: requests.Session, url: str, key: str) -> str | None:
        job = {"kind": "t.note", "payload": {}}
        try:
            answer = session.post(f"{url}/jobs", json=job, headers={"Idempotency-Key": key}, timeout=20)
        except requests.ConnectionError:
            self.statuses.add(0)
            return None
        self.statuses.add(answer.status_code)
        return str(answer.json()["id"]) if answer.status_code in (200, 201) else None


@contextmanager
def load(server: Server) -> Iterator[Book]:
    """Post from several clients at once until it is left."""
    book = Book()
    clients = [threading.Thread(target=book.post, args=(server.url,)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield book
    finally:
        book.stopped.set()
        for client in clients:
            client.join(PATIENCE)


def ends(dsn: str) -> dict[str, str]:
    """Return the state of every job that there is."""
    with closing(connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT id::text, status FROM haulier.jobs")
        return dict(cursor.fetchall())


def begun_since(ledger: Ledger, moment: float) -> float | None:
    """Return when the first handler began after that moment, if any did."""
    return min((entry.at for entry in ledger.entries("start") if entry.at > moment), default=None)


def test_no_acknowledged_job_is_lost_and_api_and_workers_go_on(pair, spawn_worker, ledger):
    with closing(connect(pair.dsn)) as conn:
        migrate(conn, retention_days=30)
    with ExitStack() as stack:
        server = stack.enter_context(gunicorn(pair.dsn, eventually, **KINDS))
        workers = [
            spawn_worker(DATABASE_URL=pair.dsn, DATABASE_DIRECT_URL="", WORKER_THREADS=4, LOG_LEVEL="INFO")
            for _ in range(2)
        ]
        processes = (server.process.pid, server.children(), [worker.pid for worker in workers])
        with load(server) as book:
            eventually(lambda: len(book.acknowledged) >= 300 and ledger.entries("start"))

            pair.kill_primary()
            lost_at = time.monotonic()
            threading.Event().wait(DECISION_SECONDS)
            too_good = book.since(lost_at + 0.2)
            decided_at = time.monotonic()
            pair.promote()
            [api_back, *_] = eventually(lambda: book.since(decided_at))
            worker_back = eventually(lambda: begun_since(ledger, decided_at))
            eventually(lambda: len(book.since(decided_at)) >= 300)
        eventually(lambda: set(ends(pair.dsn).values()) == {"succeeded"})
        settled_at = time.monotonic()
        found = ends(pair.dsn)

        assert (server.process.pid, server.children(), [worker.pid for worker in workers]) == processes
        assert all(worker.popen.poll() is None for worker in workers)
    print(
        f"{len(book.acknowledged)} jobs acknowledged, {len(found)} there; after the decision to promote the API took"
        f" jobs again in {api_back - decided_at:.2f} s, a worker began one in {worker_back - decided_at:.2f} s; all had"
        f" ended {settled_at - max(book.acknowledged.values()):.2f} s after the last was taken"
    )
    assert too_good == []
    assert book.acknowledged.keys() - found.keys() == set()
    assert book.statuses <= {0, 200, 201, 503}
    assert api_back - decided_at < 5
    assert worker_back - decided_at < 5


def test_a_standby_is_not_healthy(pair):
    with closing(connect(pair.dsn)) as conn:
        overview.ping(conn)

    with closing(connect(pair.dsn.replace("read-write", "standby"))) as conn, pytest.raises(ReadOnly):
        overview.ping(conn)


def test_nothing_is_acknowledged_while_no_standby_confirms(pair):
    with closing(connect(pair.dsn)) as conn:
        migrate(conn, retention_days=30)
    pair.lose_standby()
    began = time.monotonic()

    with closing(connect(pair.dsn)) as conn, pytest.raises(DatabaseUnavailable), translated():
        queueing.enqueue(conn, [NewJob("mail", {})])

    assert time.monotonic() - began < 10
