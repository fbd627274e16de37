"""Slow clients, by real sockets against a real gunicorn of six threads: the others are answered all the same."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.conftest import PATIENCE, eventually
from tests.local.conftest import processes
from tests.web import EMAIL, Server

Run = Callable[..., AbstractContextManager[Server]]

SLOW = 50
# A request that had to wait for slow clients would wait for their deadlines, which are 10 s.
HELD_UP = 8.0
HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LONG = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"

# What each kind of slow client has sent, and then sends of a byte at a time.
TRICKLES = {
    "nothing": (b"", b""),
    "a head": (b"POST /jobs HTTP/1.1\r\nX-Slow: ", b"x"),
    "a body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "a batch": (HEAD.replace(b"/jobs", b"/jobs/batch") + b"Content-Length: 10000000\r\n\r\n[", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n", b" "),
    "a refused body": (b"PUT /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b" "),
    "one that leaves the answer": (LONG * 3, b""),
    "a request and no end": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b""),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00" * 9, b"\x00"),
    "nonsense that is refused": (b"\r\n\r\nwhat\r\n\r\n", b""),
}


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


@contextmanager
def slow_clients(server: Server, first: bytes, then: bytes, count: int = SLOW) -> Iterator[list[socket.socket]]:
    """Keep `count` connections, and send a byte on each ten times a second."""
    over = threading.Event()
    with ExitStack() as opened:
        sockets = [opened.enter_context(closing(connect(server))) for _ in range(count)]

        def trickle() -> None:
            while not over.wait(0.1):
                for each in sockets:
                    with suppress(OSError):
                        each.send(then, socket.MSG_DONTWAIT)

        for each in sockets:
            each.sendall(first)
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield sockets
        finally:
            over.set()
            thread.join()


def test_fifty_slow_clients_hold_up_no_other(server: Server) -> None:
    for name, (first, then) in TRICKLES.items():
        spent = []
        with slow_clients(server, first, then), requests.Session() as session:
            for _ in range(7):
                began = time.monotonic()
                # On connections of their own and kept ones.
                kept, fresh = session.post(f"{server.url}/jobs", json=EMAIL), requests.get(f"{server.url}/jobs?limit=1")
                spent.append(time.monotonic() - began)
                assert (kept.status_code, fresh.status_code) == (201, 200)

        assert (max(spent) < HELD_UP, sorted(spent)[3] < 1) == (True, True), (name, spent)
    assert "Traceback" not in server.log.read_text()


def test_who_is_too_slow_gets_a_message_and_is_closed(run_gunicorn: Run, database: str, tmp_path: Path) -> None:
    # With a shorter deadline than the 10 s that it gives.
    shorter = tmp_path / "shorter.py"
    shorter.write_text(
        "from app.gunicorn_settings import *\nfrom app.http.gunicorn import buffering\nbuffering.HEAD_SECONDS = 2.0\n"
    )
    with (
        run_gunicorn(database, GUNICORN_CMD_ARGS=f"--config {shorter}") as server,
        slow_clients(server, *TRICKLES["a head"], count=5) as sockets,
    ):
        began = time.monotonic()
        answers = [each.recv(100) for each in sockets]
        spent = time.monotonic() - began

    assert [answer.splitlines()[0] for answer in answers] == [b"HTTP/1.1 408 Request Timeout"] * 5
    assert spent > 1


def test_more_connections_than_there_may_be_make_room_for_new_ones(run_gunicorn: Run, database: str) -> None:
    with (
        run_gunicorn(database, WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS="--worker-connections 60") as server,
        slow_clients(server, *TRICKLES["a head"], count=120),
    ):
        answers = [requests.get(f"{server.url}/health", timeout=HELD_UP).status_code for _ in range(10)]

    assert answers == [200] * 10


def test_more_connections_than_it_may_have_files_open_end_no_process(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database, WEB_CONCURRENCY="1", files=256) as server:
        before = server.children()
        for trickle in ("nothing", "a head", "a body"):
            with slow_clients(server, *TRICKLES[trickle], count=400):
                answers = [requests.post(f"{server.url}/jobs", json=EMAIL, timeout=HELD_UP) for _ in range(5)]
                pages = [requests.get(f"{server.url}{path}", timeout=HELD_UP) for path in ("/metrics", "/docs")]

            statuses = [answer.status_code for answer in (*answers, *pages)]
            assert (statuses, server.children()) == ([201] * 5 + [200] * 2, before), trickle
        assert "Traceback" not in server.log.read_text()


def test_with_too_few_files_it_says_so_rather_than_start(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database, wait=False, files=80) as server:
        assert server.process.wait(PATIENCE) == 1
        assert "ulimit -n" in server.log.read_text()


def test_what_slow_clients_have_sent_is_bounded(run_gunicorn: Run, database: str) -> None:
    head, _ = TRICKLES["a batch"]
    with (
        run_gunicorn(database, WEB_CONCURRENCY="1") as server,
        slow_clients(server, head, b"", count=40) as sockets,
    ):
        for each in sockets:
            with suppress(OSError):
                each.sendall(b" " * 5_000_000)
        [child] = server.children()
        with open(f"/proc/{child}/status") as status:
            [resident] = [int(line.split()[1]) for line in status if line.startswith("VmRSS")]
        answer = requests.post(f"{server.url}/jobs", json=EMAIL, timeout=HELD_UP)

    assert answer.status_code == 201
    # 200 MB were sent.
    assert resident < 190_000


BODY = b'{"kind": "summarize_text", "payload": {"text": "Hi."}}'
JOB = HEAD + b"Content-Length: %d\r\n" % len(BODY)
END = b"Connection: close\r\n\r\n"


def to_the_end(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_requests_one_behind_the_other_on_one_connection_are_answered_in_order(server: Server) -> None:
    posts = [JOB + b"X-Request-Id: %d\r\n\r\n" % number + BODY for number in range(20)]
    with closing(connect(server)) as sock:
        sock.sendall(b"".join(posts) + b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + END)
        answer = to_the_end(sock)

    ids = [line for line in answer.splitlines() if line.lower().startswith(b"x-request-id")]
    assert answer.count(b"HTTP/1.1 201 ") == 20
    assert [line.split()[1] for line in ids][:20] == [b"%d" % number for number in range(20)]


def test_answers_a_request_that_comes_byte_by_byte_and_no_endless_head(server: Server) -> None:
    with closing(connect(server)) as sock:
        for byte in JOB + END + BODY:
            sock.sendall(bytes([byte]))
        answer = to_the_end(sock)
    with closing(connect(server)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        for number in range(9):
            sock.sendall(b"X-%d: " % number + b"x" * 8000 + b"\r\n")
        too_long = sock.recv(100)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert too_long.startswith(b"HTTP/1.1 431 ")


def test_who_waits_for_a_word_before_its_body_gets_it_once(server: Server) -> None:
    with closing(connect(server)) as sock:
        sock.sendall(JOB + b"Expect: 100-continue\r\n" + END)
        word = sock.recv(1000)
        sock.sendall(BODY)
        answer = to_the_end(sock)

    assert word == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 201 ")


def test_a_slow_reader_gets_all_of_its_long_answers(server: Server) -> None:
    whole = requests.get(f"{server.url}/docs/assets/swagger-ui-bundle.js").content
    with closing(connect(server)) as sock:
        sock.sendall(LONG * 5 + LONG[:-2] + END)
        # More than the kernel holds, so that the rest is ours to keep.
        assert requests.get(f"{server.url}/health").ok
        answer = to_the_end(sock)

    assert len(whole) > 1_000_000
    assert [part.partition(b"\r\n\r\n")[2] == whole for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [True] * 6


def test_slow_clients_do_not_hold_up_its_end(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database) as server, slow_clients(server, *TRICKLES["a body"], count=10):
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)

        assert server.process.wait(PATIENCE) == 0
        # Its requests have 25 s.
        assert time.monotonic() - began < 15


def test_a_kept_connection_does_not_hold_up_the_end_of_an_orphan(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database, WEB_CONCURRENCY="1") as server, closing(connect(server)) as sock:
        [orphan] = [each.pid for each in processes() if each.parent == server.process.pid]
        sock.sendall(b"GET /health HTTP/1.1\r\n")
        server.process.kill()
        eventually(lambda: "Parent changed" in server.log.read_text())
        sock.sendall(b"Host: localhost\r\n\r\n")
        answer = sock.recv(1000)
        began = time.monotonic()

        # The client keeps its connection.
        eventually(lambda: orphan not in {each.pid for each in processes()})

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < 15
