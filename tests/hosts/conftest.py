"""Hosts, their database, and real workers on them."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job
from haulier.postgres.connection import connect
from lab.hosts import Network, Reachable, hosts
from tests.conftest import Sql, sql_on
from tests.worker.conftest import Ledger, Process, enqueue_on, finished_on, spawning

HOSTS = 3
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Far:
    """A database of a test's own, and a function that starts a worker on a host. `url` is the database's, from here."""

    network: Network
    url: str
    conn: Connection
    sql: Sql
    ledger: Ledger
    spawn: Callable[..., Process]

    def enqueue(self, kind: str, payload: dict | None = None, **options: object) -> Job:
        return enqueue_on(self.conn, kind, payload, **options)

    def finished(self, job: Job) -> Job:
        return finished_on(self.conn, job)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with hosts(HOSTS) as network:
        yield network


@pytest.fixture(scope="module")
def server(network: Network) -> Iterator[Reachable]:
    folder = Path(tempfile.mkdtemp(prefix="haulier-hosts-"))
    try:
        with Reachable(folder, network.address, test=True) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def far_away(network: Network, server: Reachable, folder: Path, round_trip: float) -> Iterator[Far]:
    """Give a database this far from the hosts."""
    ledger = Ledger(folder / "ledger")
    near, url = server.make_database(f"far_{next(NUMBERS)}")
    with ExitStack() as stack:
        conn = stack.enter_context(closing(connect(near)))
        network.wire.round_trip = round_trip
        start = stack.enter_context(spawning(url, url, ledger, folder))

        def spawn(host: int, **settings: object) -> Process:
            return start(before=network.on(host), **settings)

        stack.callback(network.heal)
        yield Far(network, near, conn, sql_on(conn), ledger, spawn)
