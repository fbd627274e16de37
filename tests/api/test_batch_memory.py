"""POST /jobs/batch takes little memory, whatever 16 MiB hold: a real gunicorn, and what the kernel says of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import eventually
from tests.often import often
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
    """Return a request whose payload is nothing but fields that are not known."""
    return b'{"kind": "send_email", "payload": {%s}}' % b",".join(b'"%x":[]' % n for n in range(count))


def as_lines(item: bytes) -> bytes:
    return b"\n".join([item] * min(10_000, (LIMIT + 1) // (len(item) + 1)))


# Made where they are sent: together they have 240 MB.
BODIES: list[tuple[str, int, str, Callable[[], bytes]]] = [
    ("ten thousand lines", 201, NDJSON, lambda: b"\n".join([text("x" * 1600)] * 10_000)),
    ("lines of tiny containers", 422, NDJSON, lambda: b"\n".join(many(containers()))),
    ("an array of tiny containers", 422, JSON, lambda: b"[" + b",".join(many(containers())) + b"]"),
    ("one line of tiny containers", 422, NDJSON, lambda: hook(b"[]", LIMIT // 3 - 100)),
    ("one element of tiny containers", 413, JSON, lambda: b"[" + hook(b"[]", LIMIT // 3 - 100) + b"]"),
    ("no array, of tiny containers", 422, JSON, lambda: hook(b"[]", LIMIT // 3 - 100)),
    ("an array of wide characters", 422, JSON, lambda: b"[" + b",".join(many(text("😀" + "x" * 200_000))) + b"]"),
    ("numbers longer than they are written", 422, NDJSON, lambda: b"\n".join(many(hook(b"1e15", 15_000)))),
    ("nothing but line feeds", 422, NDJSON, lambda: b"\n" * LIMIT),
    ("lines of unknown fields", 422, NDJSON, lambda: as_lines(unknown(150))),
    ("long lines of unknown fields", 422, NDJSON, lambda: as_lines(unknown(100_000))),
    (
        "long lines, each with what is refused at its end",
        400,
        NDJSON,
        lambda: as_lines(hook(b"[]", 349_000)[:-3] + b',"\\ud800"]}}'),
    ),
    ("long names", 422, NDJSON, lambda: as_lines(b'{"kind": "send_email", "payload": {"%s": 1}}' % (b"x" * 1_000_000))),
    ("an array of unknown fields", 422, JSON, lambda: b"[" + b",".join([unknown(1500)] * 900) + b"]"),
    ("other kinds", 422, NDJSON, lambda: as_lines(b'{"kind": "%s", "payload": 5}' % (b"x" * 1_600))),
]
# Each by itself; what is wrong with each is said one by one.
BODIES_BY_ITEM = [
    (name, content_type, make)
    for name, status, content_type, make in BODIES
    if status in (400, 422) and name != "nothing but line feeds"
]


# The others are as large in another way: `make test-slow` sends them too.
OFTEN = {
    "ten thousand lines",
    "lines of tiny containers",
    "no array, of tiny containers",
    "numbers longer than they are written",
    "lines of unknown fields",
}
OFTEN_BY_ITEM = {"an array of tiny containers"}


@pytest.fixture(scope="module")
def forking(_migrated_database: str) -> Iterator[Server]:
    """Give a gunicorn of one process, which has loaded the application before it forks: another is soon there."""
    settings = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2", "GUNICORN_CMD_ARGS": "--preload"}
    with gunicorn(_migrated_database, eventually, **settings) as server:
        yield server


@pytest.fixture
def server(forking: Server, database: str) -> Server:
    """Give it with a process that has had no request, in the test's database."""
    [before] = forking.children()
    os.kill(before, signal.SIGTERM)
    eventually(lambda: before not in forking.children() and answers(forking.url))
    return forking


@pytest.mark.parametrize(("status", "content_type", "make"), often(BODIES, OFTEN))
def test_a_batch_takes_no_more_memory_than_is_documented(
    server: Server, status: int, content_type: str, make: Callable[[], bytes]
) -> None:
    body = make()

    answer, taken = sent_to_one_process(server, "", content_type, body)

    assert len(body) <= LIMIT
    assert answer.status_code == status
    assert taken < MOST_MB
    assert len(answer.content) < MOST_ANSWER


@pytest.mark.parametrize(("content_type", "make"), often(BODIES_BY_ITEM, OFTEN_BY_ITEM))
def test_nor_does_one_that_is_taken_item_by_item(server: Server, content_type: str, make: Callable[[], bytes]) -> None:
    answer, taken = sent_to_one_process(server, "?atomic=false", content_type, make())

    assert answer.status_code in (200, 422)
    assert taken < MOST_MB
    assert len(answer.content) < MOST_ANSWER


def sent_to_one_process(server: Server, query: str, content_type: str, body: bytes) -> tuple[requests.Response, float]:
    """Return the answer, and how many megabytes more than before the process took at most; say both of them."""

    def memory(name: str) -> float:
        [kilobytes] = [
            line.split()[1] for line in Path(f"/proc/{worker}/status").read_text().splitlines() if name in line
        ]
        return int(kilobytes) / 1024

    [worker] = server.children()
    requests.post(f"{server.url}/jobs/batch", data=text("Hi."), headers={"Content-Type": NDJSON}, timeout=30)
    idle = memory("VmRSS")

    answer = requests.post(
        f"{server.url}/jobs/batch{query}", data=body, headers={"Content-Type": content_type}, timeout=60
    )
    taken = memory("VmHWM") - idle
    print(f"{answer.status_code} of {len(answer.content)} bytes; {taken:.0f} MB more than {idle:.0f}")
    return answer, taken
