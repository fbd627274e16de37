"""gunicorn as the Procfile starts it: when it refuses to start, how it reads bodies, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.proxy import proxy_to
from tests.conftest import PATIENCE
from tests.web import EMAIL, Server

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


def test_without_database_url_it_ends_with_one_line(run_gunicorn: Run) -> None:
    with run_gunicorn(None, wait=False) as server:
        code = server.process.wait(PATIENCE)

        assert code == 1
        [line] = server.log.read_text().splitlines()
        assert line.startswith("haulier: DATABASE_URL is not set")


def test_with_a_wrong_setting_it_ends_with_one_line(run_gunicorn: Run, database: str) -> None:
    with run_gunicorn(database, wait=False, HAULIER_KINDS="no_such_module") as server:
        code = server.process.wait(PATIENCE)

        assert code == 1
        [line] = server.log.read_text().splitlines()
        assert "no_such_module" in line


def test_without_the_schema_it_ends_with_one_line_that_holds_the_command(
    run_gunicorn: Run, fresh_database: str
) -> None:
    with run_gunicorn(fresh_database, wait=False) as server:
        code = server.process.wait(PATIENCE)

        lines = [line for line in server.log.read_text().splitlines() if "gunicorn.error" not in line]
        assert code == 1
        assert lines == ["haulier: the database holds no Haulier schema: run `python -m haulier migrate`"]


def test_while_the_database_is_away_it_starts_and_serves_once_it_is_back(
    run_gunicorn: Run, database: str, eventually: Callable[..., Any]
) -> None:
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
        requests_retrying(f"http://127.0.0.1:{port}/health/live")
        yield f"http://127.0.0.1:{port}", server


def test_off_loopback_without_a_key_it_starts_closed_and_says_so(run_gunicorn: Run, database: str) -> None:
    with off_loopback(run_gunicorn, database) as (url, server):
        answers = [requests.get(f"{url}{path}") for path in ("/health", "/docs", "/jobs")]
        log = server.log.read_text()

    assert [answer.status_code for answer in answers] == [200, 200, 401]
    assert log.count("there is no API key yet: every call is answered 401") == 1
    assert "AUTH=off" not in log


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FROBNICATE"]
JOB = "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
SHUT = ["/jobs", "/jobs/batch", "/jobs/x", JOB, f"{JOB}/cancel", f"{JOB}/retry", "/kinds", "/metrics", "/nowhere"]


def test_off_loopback_without_a_key_every_route_but_those_named_is_401_on_every_method(
    run_gunicorn: Run, database: str, count_jobs: Callable[[], int]
) -> None:
    named = ["/health", "/health/live", "/docs", "/docs/docs.js", "/docs/assets/swagger-ui.css"]
    named += ["/api-docs/openapi.json"]
    with off_loopback(run_gunicorn, database, WEB_CONCURRENCY="1") as (url, _), requests.Session() as session:
        shut = {
            (method, path): session.request(method, url + path, json=EMAIL, allow_redirects=False)
            for path in SHUT
            for method in METHODS
        }
        read = {path: session.get(url + path) for path in named}

    assert {call: answer.status_code for call, answer in shut.items()} == dict.fromkeys(shut, 401)
    assert {answer.headers["WWW-Authenticate"] for answer in shut.values()} == {'Bearer realm="haulier"'}
    assert {path: answer.status_code for path, answer in read.items()} == dict.fromkeys(named, 200)
    assert count_jobs() == 0


def test_off_loopback_with_a_key_it_has_nothing_to_warn_of(run_gunicorn: Run, database: str) -> None:
    secret = "5" * 64
    with off_loopback(run_gunicorn, database, HAULIER_API_KEY=secret) as (url, server):
        answers = [requests.get(f"{url}/jobs", headers=headers) for headers in ({}, bearer(secret), bearer("6" * 64))]
        log = server.log.read_text()

    assert [answer.status_code for answer in answers] == [401, 200, 401]
    assert "WARNING" not in log
    assert secret not in log


def test_only_auth_off_opens_it_and_each_start_warns(run_gunicorn: Run, database: str, server: Server) -> None:
    with off_loopback(run_gunicorn, database, AUTH="off") as (url, open_server):
        answer = requests.get(f"{url}/jobs")
        log = open_server.log.read_text()

    assert answer.status_code == 200
    assert log.count("AUTH=off: anyone who reaches 0.0.0.0:") == 1
    [warned] = [line for line in server.log.read_text().partition("Booting")[0].splitlines() if "WARNING" in line]
    assert "there is no API key yet: every program of this machine may call" in warned


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def requests_retrying(url: str) -> requests.Response:
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.1)))
        return session.get(url, timeout=PATIENCE)


def test_a_chunked_body_is_read(server: Server) -> None:
    parts = [b'{"kind": "summarize_text", ', b'"payload": {"text": "Hi."}}']

    answer = requests.post(f"{server.url}/jobs", data=iter(parts), headers={"Content-Type": "application/json"})

    assert answer.status_code == 201


def test_a_chunked_body_without_end_is_413_after_the_first_mebibyte(server: Server) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

    answer = talk(server, head + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20)

    assert b" 413 " in answer.splitlines()[0]
    assert b'"too_large"' in answer


def test_a_body_that_says_it_is_too_long_is_413_before_it_comes(server: Server) -> None:
    answer = talk(server, HEAD + b"Content-Length: 99999999\r\n\r\n{")

    assert b" 413 " in answer.splitlines()[0]


@pytest.mark.parametrize("chunk", [b"zz\r\nabc\r\n", b"-5\r\nabc\r\n", b"3\r\nabcdef\r\n"])
def test_a_broken_chunk_is_a_400_and_no_traceback(server: Server, chunk: bytes) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    before = server.log.read_text()

    answer = talk(server, head + chunk)

    assert b" 400 " in answer.splitlines()[0]
    assert "Traceback" not in server.log.read_text().removeprefix(before)


def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(server: Server, eventually: Callable[..., Any]) -> None:
    before = server.log.read_text()
    address = urlsplit(server.url)

    with socket.create_connection((address.hostname, address.port)) as conn:
        conn.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )

    eventually(lambda: "POST /jobs" in server.log.read_text().removeprefix(before))
    assert "Traceback" not in server.log.read_text()
    assert "POST /jobs 400" in server.log.read_text().removeprefix(before)


def test_a_requests_line_says_with_which_key_it_came_and_from_where(
    run_gunicorn: Run, database: str, eventually: Callable[..., Any]
) -> None:
    secret = "5" * 64
    with closing(connect(database)) as conn:
        key, token = api_keys.create(conn, NewKey("tests", [Scope.READ]), actor="test")
    with run_gunicorn(database, WEB_CONCURRENCY="1", LOG_FORMAT="json", HAULIER_API_KEY=secret) as server:
        shown = [{}, bearer(token), bearer(secret), bearer(token[:-1] + "x")]
        for headers in shown:
            requests.get(f"{server.url}/jobs", headers=headers)
        eventually(lambda: server.log.read_text().count("GET /jobs ") == len(shown))
        log = server.log.read_text()

    lines = [json.loads(line) for line in log.splitlines() if "GET /jobs " in line]
    assert [line["api_key"] for line in lines] == ["-", key.id, "env", "-"]
    assert {line["peer"] for line in lines} == {"127.0.0.1"}
    assert token not in log
    assert secret not in log


def test_open_on_loopback_it_says_so(run_gunicorn: Run, database: str) -> None:
    with (
        run_gunicorn(database, WEB_CONCURRENCY="1") as open_server,
        run_gunicorn(database, WEB_CONCURRENCY="1", HAULIER_API_KEY="5" * 64) as closed_server,
    ):
        logs = [each.log.read_text() for each in (open_server, closed_server)]

    assert ["make a key before a proxy or tunnel leads here" in log for log in logs] == [True, False]


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script_Name", "PATH_INFO"])
def test_no_header_says_what_the_path_is(run_gunicorn: Run, database: str, name: str) -> None:
    # As on a platform, which trusts whoever forwards.
    with run_gunicorn(database, WEB_CONCURRENCY="1", RENDER="1") as server:
        answers = [requests.get(f"{server.url}{path}", headers={name: "/x"}) for path in ("/health", "/x/health")]

        assert [answer.status_code for answer in answers] == [200, 404]
        assert "Traceback" not in server.log.read_text()


def test_a_process_that_may_open_no_more_files_takes_no_more_connections_and_goes_on(
    run_gunicorn: Run, database: str
) -> None:
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


def test_its_log_is_json_when_asked_and_a_request_is_one_line(
    run_gunicorn: Run, database: str, eventually: Callable[..., Any]
) -> None:
    with run_gunicorn(database, LOG_FORMAT="json") as server:
        requests.get(f"{server.url}/nowhere%0aX?secret=1", headers={"X-Request-Id": "r-1"})
        eventually(lambda: "/nowhere" in server.log.read_text())

        records = [json.loads(line) for line in server.log.read_text().splitlines()]
        [access] = [record for record in records if "/nowhere" in record["message"]]
        assert access["request_id"] == "r-1"
        assert re.fullmatch(r"GET /nowhere\nX 404 in [0-9.]+ ms", access["message"])
        assert [record["message"] for record in records if record["level"] != "INFO"] == [
            "there is no API key yet: every program of this machine may call; make a key before a proxy or tunnel leads"
            " here (`python -m haulier keys create`)"
        ]


def test_sigterm_sent_thrice_to_all_ends_it_after_the_request_under_way(
    run_gunicorn: Run, database: str, conn: Any, eventually: Callable[..., Any]
) -> None:
    with run_gunicorn(database) as server, conn.cursor() as cursor, ThreadPoolExecutor(1) as other:
        job = requests.post(f"{server.url}/jobs", json=EMAIL).headers["Location"]
        everyone = [server.process.pid, *server.children()]
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        answer = other.submit(requests.post, f"{server.url}{job}/cancel")
        eventually(lambda: is_waited_for(database))

        for _ in range(3):
            for pid in everyone:
                os.kill(pid, signal.SIGTERM)
        cursor.execute("COMMIT")

        assert answer.result(PATIENCE).status_code == 200
        assert server.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in everyone)


def test_a_process_with_nothing_to_spare_leaves_new_connections_to_the_others(
    run_gunicorn: Run, database: str, conn: Any, eventually: Callable[..., Any]
) -> None:
    with (
        run_gunicorn(database, WEB_CONCURRENCY="2", WEB_THREADS="1") as server,
        conn.cursor() as cursor,
        ThreadPoolExecutor(1) as other,
    ):
        job = requests.post(f"{server.url}/jobs", json=EMAIL).headers["Location"]
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        answer = other.submit(requests.post, f"{server.url}{job}/cancel")
        eventually(lambda: is_waited_for(database))

        for _ in range(20):
            assert requests.get(f"{server.url}/health/live", timeout=2).status_code == 200
        assert not answer.done()
        cursor.execute("COMMIT")

        assert answer.result(PATIENCE).status_code == 200


def is_waited_for(dsn: str) -> bool:
    """Tell whether somebody waits for a lock in this database."""
    with closing(connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return cursor.rowcount > 0


def test_its_children_do_not_outlive_a_killed_master(
    run_gunicorn: Run, database: str, eventually: Callable[..., Any]
) -> None:
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
def test_it_opens_no_connection_before_it_forks(run_gunicorn: Run, migrated_database: str) -> None:
    # A database of its own: a pool keeps other tests' connections, under their names, for a while.
    with closing(connect(migrated_database)) as conn, run_gunicorn(migrated_database) as server:
        for _ in range(20):
            requests.get(f"{server.url}/health")

        with conn.cursor() as cursor:
            cursor.execute(
                "SELECT application_name, count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'haulier web%' GROUP BY 1"
            )
            counts = dict(cursor.fetchall())
    assert "haulier web start" not in counts
    assert counts["haulier web"] >= 1


def test_it_holds_no_more_connections_than_it_said(run_gunicorn: Run, migrated_database: str) -> None:
    with closing(connect(migrated_database)) as conn, run_gunicorn(migrated_database) as server:
        with ThreadPoolExecutor(40) as others:
            list(others.map(requests.get, [f"{server.url}/jobs"] * 40))
        with conn.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'haulier web%'"
            )
            [(held,)] = cursor.fetchall()

        assert 1 <= held <= 6
        assert "up to 6 database connections: 2 processes x 3 threads" in server.log.read_text()
