"""The worker's port for scrapers: it ..."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from psycopg2.extensions import parse_dsn

from haulier.config import Config
from haulier.worker.metrics import http_server as port_module
from haulier.worker.metrics.http_server import most_connections
from haulier.worker.metrics.port import MetricsPort
from tests.conftest import eventually

TOKEN = "scrape-me-gently"


@pytest.fixture
def serve(free_port) -> Iterator[Callable[..., int]]:
    """Give a function that serves the metrics under these settings, and returns the port."""
    with ExitStack() as stack:

        def serve(cell: int | None = None, **settings: Any) -> int:
            config = Config("postgres://nowhere", worker_metrics_port=free_port, **settings)
            port = MetricsPort.open(config, shared=False)
            assert port is not None
            stack.enter_context(suppress(OSError))
            stack.callback(port.close)
            stack.callback(port.serve(cell))
            return free_port

        yield serve


@pytest.mark.parametrize("token", [None, TOKEN])
def test_asks_for_the_token_if_there_is_one(serve, token):
    url = f"http://127.0.0.1:{serve(metrics_token=token)}/metrics"

    right = {"Authorization": f"Bearer {TOKEN}"}
    headers = [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, right]
    # A page of another site cannot know the token: its host does not matter then.
    headers += [{**right, "Host": "worker.example.com"}] if token else []
    answers = [requests.get(url, headers=each, timeout=5) for each in headers]

    assert [answer.status_code for answer in answers] == ([401, 401, 401, 200, 200] if token else [200] * 4)
    assert all("# HELP" in answer.text for answer in answers if answer.ok)
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in answers if not answer.ok)


def test_each_series_of_a_cell_has_its_number(serve):
    url = f"http://127.0.0.1:{serve(cell=2)}/metrics"

    texts = [requests.get(url + query, timeout=5).text for query in ("", "?name[]=worker_claims_total")]

    series = [[line for line in text.splitlines() if line and line[0] != "#"] for text in texts]
    assert [line for each in series for line in each if 'cell="2"' not in line] == []
    assert len(series[0]) > 50
    assert [line.split("{")[0] for line in series[1]] == ["worker_claims_total"]


@pytest.fixture
def own_port(monkeypatch, serve) -> int:
    monkeypatch.setattr(port_module, "REQUEST_SECONDS", 1.5)
    monkeypatch.setattr(port_module, "MOST_CONNECTIONS", 4)
    return serve()


def scrapers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_connections_that_do_nothing_neither_add_up_nor_hold_up_a_scrape(own_port):
    with ExitStack() as opened:
        for _ in range(60):
            opened.enter_context(socket.create_connection(("127.0.0.1", own_port)))
        statuses = [requests.get(f"http://127.0.0.1:{own_port}/metrics", timeout=5).status_code for _ in range(5)]

        assert statuses == [200] * 5
        assert scrapers() <= 4
    eventually(lambda: scrapers() == 0)


def test_a_request_that_comes_byte_by_byte_has_a_deadline(own_port):
    def is_open(slow: socket.socket) -> bool:
        with suppress(BlockingIOError):
            try:
                slow.send(b"x", socket.MSG_DONTWAIT)
                return bool(slow.recv(100, socket.MSG_DONTWAIT))
            except ConnectionError:
                return False
        return True

    with ExitStack() as stack:
        clients = []
        for first in (b"", b"GET /metrics HTTP/1.1\r\nX: ", b"GET /metrics HTTP/1.1\r\n"):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", own_port), timeout=5)))
            clients[-1].sendall(first)

        eventually(lambda: not any([is_open(slow) for slow in clients]))
    eventually(lambda: scrapers() == 0)


def test_files_are_left_for_the_handlers(monkeypatch):
    for files, connections in {256: 8, 1024: 32, 10**6: 32, 20: 2, resource.RLIM_INFINITY: 32}.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))

        assert (files, most_connections()) == (files, connections)


def test_a_name_that_leads_here_opens_nothing_to_a_page_of_somebody_elses(own_port):
    statuses = {
        **dict.fromkeys(("localhost", "127.0.0.1:9091", "[::1]:9091"), 200),
        **dict.fromkeys(("evil.example", "127.0.0.1.nip.io", "localhost@evil.example", ""), 403),
    }
    for path in ("metrics", "anything"):
        url = f"http://127.0.0.1:{own_port}/{path}"
        answers = {host: requests.get(url, headers={"Host": host}, timeout=5).status_code for host in statuses}

        assert answers == statuses


def asked(port: int, request: bytes, *, ends: bool = False) -> bytes:
    """Return all that is answered to these bytes, after which the client may close its half."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as asking:
        asking.sendall(request)
        if ends:
            asking.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: asking.recv(65536), b""))


def test_no_answer_says_what_the_service_is_made_of(own_port):
    for line in (b"GET /metrics HTTP/1.1", b"POST / HTTP/1.1", b"nonsense", b"GET / HTTP/9.9"):
        head, _, _ = asked(own_port, line + b"\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")

        assert b"Server: haulier" in head
        assert b"Python/" not in head


def test_answers_each_request_that_is_no_http_1(own_port, caplog):
    get, host = b"GET /metrics HTTP/1.1\r\n", b"Host: localhost\r\n"
    # The request, whether the client then closes its half, and the status.
    requests_ = [
        (b"GET /metrics\r\n", False, 400),
        (b"GET /metrics\r\n\r\n", False, 400),
        (b"GET /metrics HTTP/0.9\r\n" + host + b"\r\n", False, 400),
        (b"\x16\x03\x01\x02\x00\x01\n", False, 400),
        (b"\r\n", False, 400),
        (get + host, True, 400),
        (b"GET /metrics", True, 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + host + b"\r\n", False, 414),
        (b"GET /" + b"a" * 900_000, True, 414),
        (get + b"X: " + b"a" * 70_000 + b"\r\n\r\n", False, 431),
        (get.replace(b"\r", b"") + host.replace(b"\r", b"") + b"\n", False, 200),
        (get + host + b"\r\n", False, 200),
    ]

    answers = []
    for request, ends, _ in requests_:
        with suppress(ConnectionError):
            answers.append(asked(own_port, request, ends=ends))

    assert [answer[:12] for answer in answers] == [b"HTTP/1.0 %d" % status for _, _, status in requests_]
    assert not caplog.records
    eventually(lambda: scrapers() == 0)


@pytest.mark.direct("ends the server's connections")
def test_says_within_a_lease_that_the_database_takes_no_writes(spawn_worker, free_port, sql, database):
    settings = f"ALTER DATABASE {parse_dsn(database)['dbname']}"
    spawn_worker(WORKER_METRICS_PORT=free_port, LEASE_SECONDS=2)

    def status() -> int:
        return requests.get(f"http://127.0.0.1:{free_port}/health", timeout=5).status_code

    eventually(lambda: status() == 200)
    sql(f"{settings} SET default_transaction_read_only = on")
    try:
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        eventually(lambda: status() == 503)
    finally:
        sql(f"{settings} RESET default_transaction_read_only")
