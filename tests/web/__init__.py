"""For tests of what answers over HTTP: Flask's own client, and a real gunicorn. Beside it: the dashboard's tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from lab.descendants import children
from tests.conftest import PATIENCE

ROOT = Path(__file__).parents[2]
EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}


@pytest.fixture
def make_app(config: Config) -> Iterator[Callable[..., Flask]]:
    """Give a function that returns an application; it takes settings other than the database's."""
    made: list[Flask] = []

    def make(given: Config = config) -> Flask:
        made.append(build(given))
        return made[-1]

    yield make
    for app in made:
        app.extensions["haulier"].database.close()


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app().test_client()


@pytest.fixture
def email() -> dict[str, Any]:
    return {"kind": "send_email", "payload": dict(EMAIL["payload"])}


@pytest.fixture
def count_jobs(conn: Connection) -> Callable[[], int]:
    """Give a function that says how many jobs are stored."""

    def count() -> int:
        with conn.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM haulier.jobs")
            [(jobs,)] = cursor.fetchall()
            return int(jobs)

    return count


@dataclass
class Server:
    """A gunicorn that runs. `log` is the file of its stdout and stderr."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def children(self) -> list[int]:
        return sorted(children(self.process.pid))


@contextmanager
def gunicorn(
    dsn: str | None, eventually: Callable[..., Any], *, wait: bool = True, files: int | None = None, **environ: str
) -> Iterator[Server]:
    """Run gunicorn as the Procfile does, on a free port, with at most `files` open files; stop it on leaving."""
    address = free_address()
    given = {"API_BIND_ADDR": address, **({"DATABASE_URL": dsn} if dsn else {}), **environ}
    limited = ["sh", "-c", f'ulimit -n {files} && exec "$0" "$@"'] if files else []
    command = [*limited, sys.executable, "-m", "gunicorn", "app:create_app()"]
    with serving(command, f"http://{address}", eventually, wait=wait, **given) as server:
        yield server


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def serving(
    command: list[str], url: str, eventually: Callable[..., Any], *, wait: bool = True, cwd: Path = ROOT, **environ: str
) -> Iterator[Server]:
    """Run a program that serves Haulier at this URL; stop it on leaving."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with tempfile.TemporaryDirectory(prefix="haulier-web-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                # What a killed master cannot tidy up goes with the folder.
                env={**kept, **environ, "TMPDIR": folder},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            if wait:
                eventually(lambda: process.poll() is not None or answers(url))
                assert process.poll() is None, log.read_text()
            yield Server(url, process, log)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def answers(url: str) -> bool:
    # `haulier all` listens before the API answers: on a busy machine its start takes longer than this timeout.
    with suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{url}/health/live", timeout=5).ok
    return False


@pytest.fixture(scope="session")
def shared_server(_migrated_database: str, eventually: Callable[..., Any]) -> Iterator[Server]:
    with gunicorn(_migrated_database, eventually) as server:
        yield server


@pytest.fixture
def server(shared_server: Server, database: str) -> Server:
    """Give a gunicorn, two processes of three threads, in the test's database."""
    return shared_server


@pytest.fixture
def run_gunicorn(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """Give a context manager that runs a gunicorn of the test's own: `run_gunicorn(dsn, LOG_FORMAT="json")`."""
    return lambda dsn, **given: gunicorn(dsn, eventually, **given)
