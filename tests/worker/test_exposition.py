"""The worker's port for scrapers: it ..."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import requests
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from app.config import Config
from app.worker.exposition import Exposition
from tests.conftest import eventually

TOKEN = "scrape-me-gently"


@pytest.fixture(params=[None, TOKEN])
def port(request: pytest.FixtureRequest) -> Iterator[tuple[str, str | None]]:
    """Give the address of such a port, and the token that it asks for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    config = Config("postgres://nowhere", worker_metrics_port=number, metrics_token=request.param)
    exposition = Exposition.open(config, shared=False)
    assert exposition is not None
    stop = exposition.serve()
    yield f"http://127.0.0.1:{number}/metrics", request.param
    stop()
    with suppress(OSError):
        exposition.close()


def test_asks_for_the_token_where_there_is_one(port):
    url, token = port

    headers = [
        {},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
    ]
    answers = [requests.get(url, headers=each, timeout=5) for each in headers]

    assert [answer.status_code for answer in answers] == ([401, 200, 401, 401] if token else [200] * 4)
    assert all("# HELP" in answer.text for answer in answers if answer.ok)
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in answers if not answer.ok)


@pytest.fixture
def take_no_writes(conn, database) -> Iterator[Callable[[], None]]:
    """Give a function from whose call on the database takes no writes of whoever connects."""
    name = sql.Identifier(parse_dsn(database)["dbname"])
    with conn.cursor() as cursor:

        def take_no_writes() -> None:
            cursor.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        yield take_no_writes
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


@pytest.mark.direct("ends the server's connections")
def test_says_within_a_lease_that_the_database_takes_no_writes(spawn_worker, free_port, take_no_writes):
    spawn_worker(WORKER_METRICS_PORT=free_port, LEASE_SECONDS=2)

    def status() -> int:
        return requests.get(f"http://127.0.0.1:{free_port}/health", timeout=5).status_code

    eventually(lambda: status() == 200)

    take_no_writes()

    eventually(lambda: status() == 503, within=6)
