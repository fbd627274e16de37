"""Whatever a server answers, a command ends with a line of its own, and nothing steers the terminal."""

from __future__ import annotations

import gzip
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from haulier.cli.client.client_errors import Code
from haulier.client import api
from tests.command_line.conftest import SUMMARY, Ended, Run
from tests.kinds.kinds_tools import receiving, reply

ID = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
COMMANDS = (
    ("jobs", "list"),
    ("jobs", "list", "--json"),
    ("jobs", "count"),
    ("jobs", "show", ID),
    ("jobs", "watch", ID, "--wait", "0s"),
    ("jobs", "tail", "--for", "0s"),
    ("jobs", "cancel", ID),
    ("errors", "list"),
    ("queues", "list"),
    ("workers", "list"),
    ("schedules", "list"),
    ("ops", "list"),
    ("keys", "list"),
    ("keys", "create", "shop"),
    ("audit",),
    ("stats",),
    ("top",),
    ("db",),
    ("ping", "-n", "1"),
    ("enqueue", "summarize_text", SUMMARY),
    ("enqueue", "--file", "-"),
)
# What a terminal obeys, but for the ends of lines.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
DEEP = b"[" * 100_000 + b"]" * 100_000
STEERING = "\x1b]0;mine\x07\x9b2J\u202e[red]not red[/red]\r\n"
FIELDS = ("id", "key", "kind", "queue", "status", "created_at", "error", "message")
JOB: dict[str, Any] = dict.fromkeys(FIELDS, STEERING)
# The status, the body and the headers of each answer.
ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "a redirect to C1": (302, b"", {"Location": "http://\x9b2J/\x1b[2J"}),
    "a redirect to no URL": (301, b"", {"Location": "http://[::1"}),
    "deep JSON": (200, DEEP, {}),
    "deep JSON that can be read": (200, b'[{"id":' + b"[" * 700 + b"]" * 700 + b"}]", {}),
    "a deep error": (409, b'{"error": "conflict", "message": ' + DEEP + b"}", {}),
    "a number of 5,000 digits": (200, b"9" * 5000, {}),
    "an endless number": (200, b'{"count": 1e999, "items": [], "matched": 1e999}', {}),
    "no UTF-8": (200, b'["\xff\xfe"]', {}),
    "half a character": (200, b'{"id": "\\ud800", "count": "\\ud800", "status": "queued"}', {}),
    "null": (200, b"null", {}),
    "a text": (200, b'"a text"', {}),
    "an empty object": (200, b"{}", {}),
    "a list of nothing": (200, b"[null]", {}),
    "a list of empty objects": (200, b"[{}]", {}),
    "a job that steers": (200, json.dumps(JOB).encode(), {}),
    "jobs that steer": (200, json.dumps([JOB]).encode(), {"Next-Cursor": "\x9b2J"}),
    "an error that steers": (422, json.dumps(JOB).encode(), {"X-Request-Id": "\x9b2J"}),
    "a date without a zone": (200, b"[]", {"Date": "Mon, 30 Nov 2026 04:00:00 -0000"}),
    "a date beyond all": (200, b"[]", {"Date": "Mon, 30 Nov 2026 04:00:00 +99999999999999999999"}),
    "bytes that are no gzip": (200, b"[]", {"Content-Encoding": "gzip"}),
    "a length that is none": (200, b"[]", {"Content_Length": "-5, x"}),
    "cookies that are none": (200, b"[]", {"Set-Cookie": "\x9b=\x1b[2J; expires=\x9b; domain=[::"}),
}
RAW: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"\x9b2J\x1b[2J hello\r\n\r\n",
    "a status that steers": b"HTTP/1.1 409 \x9b2J\x1b[2J\r\nContent-Length: 0\r\n\r\n",
    "a status of no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a header of 100 KB": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 1000 + b"\r\n",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x9b2J\r\n",
}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts follow each other at once."""
    monkeypatch.setattr(api, "PAUSES", (0.0,))
    monkeypatch.setattr(api, "FIRST_PAUSES", (0.0,))


def faults_of(ended: Ended) -> list[str]:
    """Return what is wrong with an end: no line of its own, or something that a terminal obeys."""
    faults = [repr(found[0]) for found in [CONTROL.search(ended.out + ended.err)] if found]
    if ended.code not in list(Code):
        faults.append(f"the code {ended.code}")
    if ended.code and not ended.err.splitlines()[-1].startswith("haulier: "):
        faults.append(ended.err[-200:])
    return faults


def test_ends_with_its_own_error_whatever_a_server_answers(run: Run) -> None:
    wrong: list[str] = []
    for name in (*ANSWERS, *RAW):

        def answer(handler: BaseHTTPRequestHandler, _: object, name: str = name) -> None:
            if name in ANSWERS:
                status, body, headers = ANSWERS[name]
                reply(handler, status, body, **headers)
            else:
                handler.wfile.write(RAW[name])

        with receiving(answer) as server:
            for command in COMMANDS:
                try:
                    ended = run("-v", *command, input='{"kind": "mail", "payload": {}}\n', HAULIER_URL=server.url)
                    faults = faults_of(ended)
                except Exception as error:  # the caller would see a traceback
                    faults = [repr(error)[:200]]
                wrong += [f"{name}: {' '.join(command)}: {fault}" for fault in faults]
    assert not wrong, "\n".join(wrong)


def test_ends_a_list_whose_server_repeats_or_never_ends_it(run: Run) -> None:
    def answer(handler: BaseHTTPRequestHandler, _: object) -> None:
        assert len(server.requests) < 50, "the list goes on"
        reply(handler, 200, b"[]", Next_Cursor=cursors[(len(server.requests) - 1) % len(cursors)])

    for cursors in (["a"], ["a", "b", "c"]):
        with receiving(answer) as server:
            ended = run("jobs", "list", HAULIER_URL=server.url)
        assert (ended.code, len(server.requests)) == (5, len(cursors) + 1)
        assert ended.err.startswith(f"haulier: {server.url.removeprefix('http://')} repeats the cursor of a list")


def test_prints_no_more_items_than_it_has_asked_for(run: Run) -> None:
    with receiving(
        lambda handler, _: reply(handler, 200, json.dumps([{"id": 1}] * 9).encode(), Next_Cursor="a")
    ) as server:
        ended = run("jobs", "list", "--json", "--limit", "5", HAULIER_URL=server.url)

    assert (ended.code, len(ended.lines)) == (0, 5)


def test_reads_no_answer_without_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_BYTES", 100_000)
    # 1 MB that takes 1 KB on the way.
    body = gzip.compress(b" " * 1_000_000)
    with receiving(lambda handler, _: reply(handler, 200, body, Content_Encoding="gzip")) as server:
        ended = run("jobs", "count", HAULIER_URL=server.url)

    assert ended.code == 5
    assert "the response is longer than 100,000 bytes" in ended.err
