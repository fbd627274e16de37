"""A gunicorn and a worker that are watched, and an ear that must hear nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from tests.conftest import PATIENCE
from tests.web import ROOT, Server, gunicorn


@dataclass
class Ear:
    """A listener, on IPv4 and IPv6. `heard` holds who connected, from where."""

    port: int = 0
    heard: list[Any] = field(default_factory=list)


@pytest.fixture(scope="session")
def ear() -> Iterator[Ear]:
    """Give a listener on this machine that no hostile request may reach."""
    ear = Ear()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        ear.port = server.getsockname()[1]
        # The tables leave five letters for it.
        assert ear.port >= 10_000

        def listen() -> None:
            with suppress(OSError):
                while True:
                    conn, address = server.accept()
                    conn.close()
                    ear.heard.append(address)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield ear
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass
class Watched:
    """A gunicorn or a worker, of which each connection is written down in the book."""

    server: Server
    book: Path

    @property
    def spoke_to(self) -> list[str]:
        """Return a line for each connection or look-up that its processes made, less those to the database."""
        return self.book.read_text().splitlines() if self.book.exists() else []


@pytest.fixture(scope="session")
def shared_api(
    _migrated_database: str, eventually: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    book = tmp_path_factory.mktemp("hostile") / "api"
    watched = {"HAULIER_KINDS": "tests.hostile.witness", "HOSTILE_WITNESS": str(book)}
    with gunicorn(_migrated_database, eventually, **watched) as server:
        yield Watched(server, book)


@pytest.fixture
def api(shared_api: Watched, database: str) -> Watched:
    return shared_api


SECRETS = {
    "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "SMTP_URL": "smtp://ann:hunter2@127.0.0.1:1",
    "MAIL_FROM": "jobs@example.com",
}


@pytest.fixture
def start_worker(database: str, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Callable[..., Watched]]:
    """Give a function that starts a worker with every kind's settings; it takes further ones."""
    started: list[Watched] = []

    def start(**given: str) -> Watched:
        worker_log, book = tmp_path / f"worker-{len(started)}.log", tmp_path / f"book-{len(started)}"
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database,
            "HAULIER_KINDS": "tests.hostile.witness",
            "HOSTILE_WITNESS": str(book),
            "STORAGE_URL": (tmp_path / "made").as_uri(),
            "WORKER_METRICS_PORT": "0",
            "LOG_LEVEL": "DEBUG",
            **SECRETS,
            **given,
        }
        with worker_log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "worker.py"], cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT
            )
        started.append(Watched(Server("", process, worker_log), book))
        eventually(lambda: "registered as worker" in worker_log.read_text())
        return started[-1]

    yield start
    for worker in started:
        worker.server.process.terminate()
        worker.server.process.wait(PATIENCE)


def ended(conn: Connection) -> int:
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.finished_job")
        return int(cursor.fetchone()[0])
