"""POST /jobs/batch takes little memory, whatever 16 MiB hold: a real gunicorn, and what the kernel says of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import eventually
from tests.web import Server, answers, gunicorn

NDJSON, JSON = "application/x-ndjson", "application/json"
LIMIT = 16 * 1024 * 1024
# docs/api.md: the body, its text, and what is written of the jobs. As objects some of these take 500 MB to 900 MB.
MOST_MB = 128
MOST_ANSWER = 4_000_000

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")


def text(content: str) -> bytes:
    return json.dumps({"kind": "summarize_text", "payload": {"text": content}}, ensure_ascii=False).encode()


def hook(inner: bytes, count: int) -> bytes:
    body = b",".join([inner] * count)
    return b'{"kind": "webhook_delivery", "payload": {"url": "http://example.com/", "body": [%s]}}' % body


def many(item: bytes, last: bytes = b"5") -> list[bytes]:
    """Return as many of the item as fit, and one that does not fit its kind: so Postgres need not store them."""
    return [item] * ((LIMIT - len(last) - 2) // (len(item) + 1)) + [last]


def containers() -> bytes:
    return hook(b"[]", 87_000)


def unknown(count: int) -> bytes:
    return b'{"kind": "send_email", "payload": {%s}}' % b",".join(b'"%x":[]' % n for n in range(count))


def as_lines(item: bytes) -> bytes:
    return b"\n".join([item] * min(10_000, (LIMIT + 1) // (len(item) + 1)))


# The status of each one's answer, and the body, made where it is sent, since together they have 240 MB.
BODIES: dict[str, tuple[int, str, Callable[[], bytes]]] = {
    "ten thousand lines": (201, NDJSON, lambda: b"\n".join([text("x" * 1600)] * 10_000)),
    "lines of tiny containers": (422, NDJSON, lambda: b"\n".join(many(containers()))),
    "an array of tiny containers": (422, JSON, lambda: b"[" + b",".join(many(containers())) + b"]"),
    "one line of tiny containers": (422, NDJSON, lambda: hook(b"[]", LIMIT // 3 - 100)),
    "no array, of tiny containers": (422, JSON, lambda: hook(b"[]", LIMIT // 3 - 100)),
    "numbers longer than they are written": (422, NDJSON, lambda: b"\n".join(many(hook(b"1e15", 15_000)))),
    "nothing but line feeds": (422, NDJSON, lambda: b"\n" * LIMIT),
    "lines of unknown fields": (422, NDJSON, lambda: as_lines(unknown(150))),
    "what is refused at the end of long lines": (
        400, NDJSON, lambda: as_lines(hook(b"[]", 349_000)[:-3] + b',"\\ud800"]}}')
    ),
    "long names": (422, NDJSON, lambda: as_lines(b'{"kind": "send_email", "payload": {"%s": 1}}' % (b"x" * 1_000_000))),
    "an array of unknown fields": (422, JSON, lambda: b"[" + b",".join([unknown(1500)] * 900) + b"]"),
}  # fmt: skip
QUICK = {"ten thousand lines", "lines of tiny containers", "lines of unknown fields"}
ONE_BY_ONE = {"an array of tiny containers"}


@pytest.fixture(scope="module")
def forking(_migrated_database: str) -> Iterator[Server]:
    """Give a gunicorn of one process, which has loaded the application before it forks: another is soon there."""
    settings = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2", "GUNICORN_CMD_ARGS": "--preload"}
    with gunicorn(_migrated_database, eventually, **settings) as server:
        yield server


@pytest.fixture
def server(forking: Server, database: str) -> Server:
    return forking


def rest(names: set[str]) -> Any:
    """Return the bodies that are as large in another way."""
    return pytest.param(BODIES.keys() - names, id="the others", marks=pytest.mark.slow)


@pytest.mark.parametrize("names", [pytest.param(QUICK, id="some"), rest(QUICK)])
def test_a_batch_takes_no_more_memory_than_is_documented(server: Server, names: set[str]) -> None:
    wrong = {}
    for name in names:
        status, content_type, make = BODIES[name]
        body = make()
        answer, taken = sent_to_one_process(server, "", content_type, body)
        found = (len(body) <= LIMIT, answer.status_code, taken < MOST_MB, len(answer.content) < MOST_ANSWER)
        if found != (True, status, True, True):
            wrong[name] = (found, taken)

    assert wrong == {}


@pytest.mark.parametrize("names", [pytest.param(ONE_BY_ONE, id="one"), rest(ONE_BY_ONE)])
def test_a_batch_that_is_taken_one_by_one_takes_no_more_memory(server: Server, names: set[str]) -> None:
    wrong = {}
    for name in names - {"ten thousand lines", "nothing but line feeds"}:
        _, content_type, make = BODIES[name]
        answer, taken = sent_to_one_process(server, "?atomic=false", content_type, make())
        found = (answer.status_code in (200, 422), taken < MOST_MB, len(answer.content) < MOST_ANSWER)
        if found != (True, True, True):
            wrong[name] = (found, taken)

    assert wrong == {}


def sent_to_one_process(server: Server, query: str, content_type: str, body: bytes) -> tuple[requests.Response, float]:
    """Return the answer of a new process, and how many megabytes more than before the process took at most."""

    def memory(name: str) -> float:
        lines = Path(f"/proc/{worker}/status").read_text().splitlines()
        return int(next(line for line in lines if name in line).split()[1]) / 1024

    [before] = server.children()
    os.kill(before, signal.SIGTERM)
    eventually(lambda: before not in server.children() and answers(server.url))
    [worker] = server.children()
    requests.post(f"{server.url}/jobs/batch", data=text("Hi."), headers={"Content-Type": NDJSON}, timeout=30)
    idle = memory("VmRSS")

    answer = requests.post(
        f"{server.url}/jobs/batch{query}", data=body, headers={"Content-Type": content_type}, timeout=60
    )
    taken = memory("VmHWM") - idle
    print(f"{answer.status_code} of {len(answer.content)} bytes; {taken:.0f} MB more than {idle:.0f}")
    return answer, taken
