"""The numbers of all cells, as each web process asks for them: it ..."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC
from typing import Any

from flask import Flask
from psycopg2.extensions import connection as Connection
from werkzeug.serving import make_server

from haulier.cells.ask import ALL_SECONDS, CellReport, ask_cells
from haulier.cells.cells_toml import Cell, Cells
from haulier.config import Config
from haulier.version import version
from tests.cells.stub import stub
from tests.patience import PATIENCE, eventually
from tests.web import free_address, make_app  # noqa: F401  # fixture
from tests.web.jobs import counted, enqueue

KEY = "0123456789abcdef" * 4
COUNTED = "2026-12-01T02:00:00Z"
STATS = {"due": 7, "oldest_due_seconds": 3.5, "totals": {"failed": 2}, "counted_at": COUNTED}


def reply(body: Any, status: str = "200 OK") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(text), text)


def ask(*servers: str, key: str | None = KEY, default: int = 1, number: int = 1) -> CellReport:
    """Return the report of the cell of this number, which has these servers."""
    [report] = ask_cells(Cells(default, (Cell(number, servers),)), key)
    return report


def report_of(*answers: bytes | None) -> CellReport:
    """Return the report of a cell that gives these answers, first to /health and then to /stats."""
    with stub(lambda times: answers[times - 1] if times <= len(answers) else None) as server:
        return ask(server.address)


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


def test_reads_the_numbers_of_an_api_of_this_version(
    make_app: Callable[..., Flask],  # noqa: F811
    config: Config,
    conn: Connection,
) -> None:
    for _ in range(3):
        enqueue(conn)
    counted(conn)

    with serving(make_app(replace(config, haulier_api_key=KEY))) as address:
        known, stranger, nobody = (ask(address, key=key) for key in (KEY, "x" * 32, None))
        unnumbered = ask(address, number=2)

    assert (known.is_up, known.version) == (True, version())
    assert known.numbers is not None
    assert (known.numbers.due, known.numbers.failed) == (3, 0)
    assert (known.numbers.oldest_due_seconds or 0) > 0
    # Only the default cell may have ids that name no cell.
    assert known.faults == ()
    assert unnumbered.faults == ("its ids lead to the default cell: run `haulier migrate` there with CELL=2",)
    for report, why in ((stranger, "is its HAULIER_API_KEY the same"), (nobody, "set HAULIER_API_KEY")):
        assert (report.is_up, report.version, report.numbers) == (True, version(), None)
        assert why in report.faults[-1]


def test_knows_no_number_of_a_cell_that_does_not_answer_as_it_should() -> None:
    up = reply({"status": "ok", "version": "1.0.0", "cell": 1})
    uncounted = {**STATS, "counted_at": None, "due": None}
    expected = {
        "away": (None, "does not answer: Connection refused"),
        "cut": (None, "does not answer"),
        "html": (None, "answers, but not like Haulier"),
        "a list": (None, "answers, but not like Haulier"),
        "too deep": (None, "answers, but not like Haulier"),
        "an infinite number": (None, "answers, but not like Haulier"),
        "an infinite age": (None, "answers, but not like Haulier"),
        "endless": (None, "answers, but not like Haulier"),
        "down": (False, "the database cannot be reached"),
        "another cell": (False, "says that it is cell 2"),
        "stats without numbers": (None, "answers, but not like Haulier"),
        "no worker": (True, "no worker with COUNTING=on has run"),
        "busy": (True, "its numbers are unknown: too many"),
        "warned": (True, "jobs wait"),
    }
    reports = {
        "away": ask(free_address()),
        "cut": report_of(None),
        "html": report_of(reply(b"<html>")),
        "a list": report_of(reply([1])),
        "too deep": report_of(reply(b"[" * 200_000)),
        "an infinite number": report_of(up, reply({**STATS, "due": math.inf})),
        "an infinite age": report_of(up, reply({**STATS, "oldest_due_seconds": math.inf})),
        "endless": report_of(reply(b"9" * 2_000_000)),
        "down": report_of(
            reply({"error": "unavailable", "message": "the database cannot be reached"}, "503 Service Unavailable")
        ),
        "another cell": report_of(reply({"status": "ok", "version": "1.0.0", "cell": 2})),
        "stats without numbers": report_of(up, reply({**STATS, "totals": None})),
        "no worker": report_of(up, reply(uncounted)),
        "busy": report_of(up, reply({"message": "too many"}, "429 Too Many Requests")),
        "warned": report_of(reply({"status": "ok", "warnings": ["jobs wait"]}), reply(uncounted)),
    }

    assert {name: report.is_up for name, report in reports.items()} == {
        name: is_up for name, (is_up, _) in expected.items()
    }
    assert [name for name, (_, why) in expected.items() if why not in "; ".join(reports[name].faults)] == []
    assert {name: report.numbers for name, report in reports.items() if report.numbers} == {}


def test_asks_the_next_server_of_a_cell_if_one_does_not_answer() -> None:
    answers = [reply({"status": "ok", "version": "1.0.0", "cell": 1}), reply(STATS)]
    with stub(lambda times: answers[times - 1]) as server:
        report = ask(free_address(), server.address)

    assert (report.is_up, report.faults, report.version) == (True, (), "1.0.0")
    assert report.numbers is not None
    assert (report.numbers.due, report.numbers.oldest_due_seconds, report.numbers.failed) == (7, 3.5, 2)
    assert report.numbers.counted_at.isoformat() == COUNTED.replace("Z", "+00:00")
    [health, stats] = server.requests
    assert health.startswith("GET /health ")
    assert "Authorization" not in health
    assert f"Authorization: Bearer {KEY}\r\n" in stats


def test_asks_all_cells_at_once_and_waits_for_none_for_long() -> None:
    released = threading.Event()

    def hang(_: int) -> None:
        released.wait(PATIENCE)

    with ExitStack() as stack:
        hung = [stack.enter_context(stub(hang)) for _ in range(8)]
        cells = Cells(1, tuple(Cell(number, (server.address,)) for number, server in enumerate(hung, 1)))
        began = time.monotonic()

        reports = ask_cells(cells, KEY)

        took = time.monotonic() - began
        released.set()
    # One after the other they would take eight times as long as one.
    assert took < 2 * ALL_SECONDS
    assert {(report.is_up, report.numbers, len(report.faults)) for report in reports} == {(None, None, 1)}


@contextmanager
def dripping() -> Iterator[str]:
    """Run a server that begins an answer to each request, and never ends it."""
    stopped = threading.Event()

    def drip(conn: socket.socket) -> None:
        with closing(conn), suppress(OSError):
            while not stopped.wait(0.1):
                conn.sendall(b"H")

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=listener.accept()[:1]).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def test_leaves_no_thread_behind_for_a_server_that_answers_without_end() -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("haulier-cell")]

    with dripping() as server:
        report = ask(server, server)

        assert report.faults == ("it has not answered within 2 s",)
        eventually(lambda: threads() == [])


def test_keeps_the_texts_of_another_program_short() -> None:
    health = {"status": "ok", "version": "v" * 9000, "warnings": ["<b>" * 3000] * 50}

    report = report_of(reply(health), reply(STATS))
    other = report_of(reply({**health, "cell": "9" * 9000}))

    assert report.numbers is not None
    assert [len(each) for each in (report.version or "", *report.faults)] == [300] * 11
    assert len(other.faults[0]) < 300


def test_gives_the_time_of_the_numbers_a_zone() -> None:
    up = reply({"status": "ok", "cell": 1})

    report = report_of(up, reply({**STATS, "counted_at": COUNTED.removesuffix("Z")}))

    assert report.numbers is not None
    assert report.numbers.counted_at.tzinfo is UTC
