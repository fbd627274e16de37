"""gunicorn as the Procfile starts it: when it refuses to start, how it reads bodies, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.proxy import proxy_to
from tests.conftest import PATIENCE, eventually
from tests.http.callers import bearer
from tests.web import EMAIL, Server, answers

Run = Callable[..., AbstractContextManager[Server]]
HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def talk(server: Server, request: bytes) -> bytes:
    """Send these bytes and return what comes back until the server closes."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as conn:
        conn.sendall(request)
        answer = b""
        while more := conn.recv(65536):
            answer += more
            if b"\r\n\r\n" in answer and b'"request_id"' in answer:
                break
        return answer


def test_it_ends_with_one_line_if_it_cannot_serve(run_gunicorn: Run, database: str, fresh_database: str) -> None:
    reasons = [
        (None, {}, "haulier: DATABASE_URL is not set"),
        (database, {"HAULIER_KINDS": "no_such_module"}, "no_such_module"),
        (fresh_database, {}, "haulier: the database has no Haulier schema: run `python -m haulier migrate`"),
        (database, {"CELL": "3"}, "haulier: CELL=3, but the database has no number yet: run"),
    ]
    for dsn, settings, reason in reasons:
        with run_gunicorn(dsn, wait=False, **settings) as server:
            code = server.process.wait(PATIENCE)
            [line] = [line for line in server.log.read_text().splitlines() if "gunicorn.error" not in line]

        assert (code, reason in line) == (1, True), line


def test_it_starts_without_the_database_and_serves_once_that_is_back(run_gunicorn: Run, database: str) -> None:
    with proxy_to(database) as proxy:
        proxy.go_away()
        with run_gunicorn(proxy.url, WEB_CONCURRENCY="1") as server:
            away = requests.post(f"{server.url}/jobs", json=EMAIL)
            proxy.come_back()
            back = requests.post(f"{server.url}/jobs", json=EMAIL)

            assert (away.status_code, away.json()["error"]) == (503, "unavailable")
            assert back.status_code == 201
            assert "cannot be reached yet" in server.log.read_text()
            assert "Traceback" not in server.log.read_text()


@contextmanager
def off_loopback(run_gunicorn: Run, database: str, **given: str) -> Iterator[tuple[str, Server]]:
    """Run it as a platform does, which says a port alone, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with run_gunicorn(database, wait=False, API_BIND_ADDR="", PORT=port, **given) as server:
        eventually(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}", server


def test_off_loopback_it_says_whether_it_starts_closed_or_open(
    run_gunicorn: Run, database: str, server: Server
) -> None:
    secret = "5" * 64
    starts: list[tuple[dict[str, str], list[int], str]] = [
        ({}, [401, 401, 401], "there is no API key yet: every call gets 401"),
        ({"HAULIER_API_KEY": secret}, [401, 200, 401], ""),
        ({"AUTH": "off"}, [200, 200, 200], "AUTH=off: anyone who can reach 0.0.0.0:"),
    ]
    for settings, statuses, warning in starts:
        with off_loopback(run_gunicorn, database, **settings) as (url, closed):
            public = [requests.get(f"{url}{path}").status_code for path in ("/health", "/docs")]
            shown = ({}, bearer(secret), bearer("6" * 64))
            found = [requests.get(f"{url}/jobs", headers=headers).status_code for headers in shown]
            log = closed.log.read_text()

        assert (public, found) == ([200, 200], statuses)
        assert [warning in line for line in log.splitlines() if "WARNING" in line] == [True] * bool(warning)
        assert secret not in log
    [warned] = [line for line in server.log.read_text().partition("Booting")[0].splitlines() if "WARNING" in line]
    assert "there is no API key yet: every program on this machine may call" in warned


def test_reads_a_chunked_body_and_answers_413_before_a_longer_one_has_come(server: Server) -> None:
    parts = [b'{"kind": "summarize_text", ', b'"payload": {"text": "Hi."}}']
    taken = requests.post(f"{server.url}/jobs", data=iter(parts), headers={"Content-Type": "application/json"})
    assert taken.status_code == 201

    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20
    for sent in (chunked, HEAD + b"Content-Length: 99999999\r\n\r\n{"):
        answer = talk(server, sent)

        assert b" 413 " in answer.splitlines()[0]
        assert b'"too_large"' in answer


def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(server: Server) -> None:
    before = server.log.read_text()
    address = urlsplit(server.url)

    with socket.create_connection((address.hostname, address.port)) as conn:
        conn.sendall(HEAD + b"Content-Length: 50\r\n\r\n{")

    eventually(lambda: "POST /jobs 400" in server.log.read_text().removeprefix(before))
    assert "Traceback" not in server.log.read_text()


def test_a_requests_line_is_json_when_asked_and_names_its_key(run_gunicorn: Run, database: str) -> None:
    secret = "5" * 64
    with closing(connect(database)) as conn:
        key, token = api_keys.create(conn, NewKey("tests", [Scope.READ]), actor="test")
    with run_gunicorn(database, WEB_CONCURRENCY="1", LOG_FORMAT="json", HAULIER_API_KEY=secret) as server:
        shown = [{}, bearer(token), bearer(secret), bearer(token[:-1] + "x")]
        for headers in shown:
            requests.get(f"{server.url}/nowhere%0aX?secret=1", headers={**headers, "X-Request-Id": "r-1"})
        eventually(lambda: server.log.read_text().count("/nowhere") == len(shown))
        log = server.log.read_text()

    records = [json.loads(line) for line in log.splitlines()]
    lines = [record for record in records if "/nowhere" in record["message"]]
    assert [(line["api_key"], line["peer"], line["request_id"]) for line in lines] == [
        (name, "127.0.0.1", "r-1") for name in ("-", key.id, "env", "-")
    ]
    assert re.fullmatch(r"GET /nowhere\nX 404 in [0-9.]+ ms", lines[1]["message"])
    assert {record["level"] for record in records} == {"INFO"}
    assert token not in log
    assert secret not in log


def test_no_header_says_what_the_path_is(run_gunicorn: Run, database: str) -> None:
    # As on a platform, which trusts whoever forwards.
    with run_gunicorn(database, WEB_CONCURRENCY="1", RENDER="1") as server:
        for name in ("SCRIPT_NAME", "Script_Name", "PATH_INFO"):
            answers = [requests.get(f"{server.url}{path}", headers={name: "/x"}) for path in ("/health", "/x/health")]

            assert [answer.status_code for answer in answers] == [200, 404], name
        assert "Traceback" not in server.log.read_text()


def test_a_process_that_may_open_no_more_files_goes_on(run_gunicorn: Run, database: str) -> None:
    # Told to take more than there is room for.
    with run_gunicorn(database, WEB_CONCURRENCY="1", files=128, GUNICORN_CMD_ARGS="--worker-connections 500") as server:
        before = server.children()
        address = urlsplit(server.url)
        with ExitStack() as opened:
            for _ in range(200):
                opened.enter_context(socket.create_connection((address.hostname, address.port), timeout=PATIENCE))
            answers = [requests.get(f"{server.url}/health/live", timeout=10).status_code for _ in range(3)]

        assert (answers, server.children()) == ([200] * 3, before)
        assert "Too many open files" in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


@contextmanager
def under_way(server: Server, database: str, conn: Any) -> Iterator[Future[requests.Response]]:
    """Give a request that waits for a lock as long as the block lasts; it is answered well afterwards."""
    with conn.cursor() as cursor, ThreadPoolExecutor(1) as other:
        job = requests.post(f"{server.url}/jobs", json=EMAIL).headers["Location"]
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        answer = other.submit(requests.post, f"{server.url}{job}/cancel")
        eventually(lambda: is_waited_for(database))
        yield answer
        cursor.execute("COMMIT")
        assert answer.result(PATIENCE).status_code == 200


def test_sigterm_sent_thrice_to_all_ends_it_after_the_request_under_way(
    run_gunicorn: Run, database: str, conn: Any
) -> None:
    with run_gunicorn(database) as server:
        everyone = [server.process.pid, *server.children()]
        with under_way(server, database, conn):
            for _ in range(3):
                for pid in everyone:
                    os.kill(pid, signal.SIGTERM)

        assert server.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in everyone)


def test_a_process_with_nothing_to_spare_leaves_new_connections_to_the_others(
    run_gunicorn: Run, database: str, conn: Any
) -> None:
    with (
        run_gunicorn(database, WEB_CONCURRENCY="2", WEB_THREADS="1") as server,
        under_way(server, database, conn) as answer,
    ):
        for _ in range(20):
            assert requests.get(f"{server.url}/health/live", timeout=2).status_code == 200
        assert not answer.done()


def is_waited_for(dsn: str) -> bool:
    with closing(connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return cursor.rowcount > 0


def test_its_children_do_not_outlive_a_killed_master(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database) as server:
        children = server.children()
        assert len(children) == 2

        server.process.kill()

        eventually(lambda: not any(alive(pid) for pid in children))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            # A zombie has ended; whoever inherited it has not looked yet.
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.direct("looks at the server's own connections")
def test_it_opens_connections_after_the_fork_and_no_more_than_it_said(
    run_gunicorn: Run, migrated_database: str
) -> None:
    # A database of its own: a pool keeps other tests' connections, under their names, for a while.
    with closing(connect(migrated_database)) as conn, run_gunicorn(migrated_database) as server:
        with ThreadPoolExecutor(40) as others:
            list(others.map(requests.get, [f"{server.url}/jobs"] * 40))
        with conn.cursor() as cursor:
            cursor.execute(
                "SELECT application_name, count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'haulier web%' GROUP BY 1"
            )
            counts = dict(cursor.fetchall())

        assert "haulier web start" not in counts
        assert 1 <= counts["haulier web"] <= sum(counts.values()) <= 6
        assert "up to 6 database connections: 2 processes x 3 threads" in server.log.read_text()
