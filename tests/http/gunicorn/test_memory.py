"""A web process stays under 512 MB, whatever is stored and whatever comes: a real gunicorn, its threads as by default.

It has one process: two would take twice as much, each of them as much as one, and who meets whom would be by chance.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from psycopg2.extensions import connection as Connection

from haulier.queue import jobs as job_acts
from haulier.queue import search
from tests.often import often
from tests.web import Server

MOST_MB = 512
THREADS = 3
PAYLOAD_BYTES = 256 * 1024
NDJSON = "application/x-ndjson"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")


def memory(server: Server, name: str) -> float:
    """Return how many megabytes the web process has (VmRSS), or has had at most (VmHWM)."""
    [pid] = server.children()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def post(server: Server, path: str, body: bytes | str, content_type: str, by: Any = requests) -> requests.Response:
    answer: requests.Response = by.post(
        server.url + path, data=body, headers={"Content-Type": content_type}, timeout=60
    )
    return answer


@pytest.fixture
def own_server(database: str, run_gunicorn: Callable[..., Any]) -> Iterator[Server]:
    """Give a gunicorn that has done nothing yet, in the test's database; say what its processes took."""
    with run_gunicorn(database, WEB_CONCURRENCY="1") as server:
        for _ in range(20):
            requests.get(f"{server.url}/jobs", timeout=30)
        before = memory(server, "VmRSS")
        yield server
        print(f"MB before {before}, at most {memory(server, 'VmHWM')}, after {memory(server, 'VmRSS')}")


def filled(item: str, payload: str = '{"a":[%s]}', most: int = PAYLOAD_BYTES) -> str:
    """Return a payload of nothing but this, as long as may be."""
    return payload % ",".join([item] * ((most - len(payload)) // (len(item) + 1)))


STORED = {
    "empty lists": filled("[]"),
    "one letter": json.dumps({"a": "x" * 250_000}),
    "wide letters": json.dumps({"a": "🚢" + "x" * 250_000}, ensure_ascii=False),
    # As jsonb writes it, 11 MB.
    "numbers longer than they are written": filled("1e+308"),
    "lists and a long number": filled("[]", '{"b":12345678901234567890123,"a":[%s]}'),
}


@pytest.fixture
def store(conn: Connection) -> Callable[..., None]:
    """Give a function that stores `count` jobs with this payload, half of them ended."""

    def store(payload: str, count: int) -> None:
        with conn.cursor() as cursor:
            cursor.execute(
                "INSERT INTO haulier.job (kind, payload, created_at) SELECT 'webhook_delivery', %s, now()", (payload,)
            )
            cursor.execute(
                "INSERT INTO haulier.job (kind, payload, created_at)"
                " SELECT kind, payload, created_at - make_interval(secs => n)"
                " FROM haulier.job, generate_series(1, %s) AS n",
                (count - 1,),
            )
            cursor.execute("SELECT id FROM haulier.job ORDER BY created_at LIMIT %s", (count // 2,))
            for (job_id,) in cursor.fetchall():
                job_acts.cancel(conn, job_id)

    return store


@pytest.mark.parametrize("payload", often(STORED.items(), {"empty lists", "numbers longer than they are written"}))
def test_a_list_of_the_largest_jobs_in_each_thread_at_once(
    own_server: Server, store: Callable[..., None], payload: str
) -> None:
    store(payload, 200)

    with ThreadPoolExecutor(THREADS) as clients:
        answers = list(clients.map(requests.get, [f"{own_server.url}/jobs?limit=200"] * THREADS))

    assert [answer.status_code for answer in answers] == [200] * THREADS
    assert memory(own_server, "VmHWM") < MOST_MB
    assert len({answer.content for answer in answers}) == 1
    jobs = answers[0].json()
    # Page by page, and no page is empty.
    assert 1 <= len(jobs) < 200
    assert all(answer.headers["Next-Cursor"] for answer in answers)
    assert jobs[0]["payload"] == json.loads(payload, parse_int=_as_double)


def _as_double(digits: str) -> float:
    return int(digits) if len(digits) < 20 else float(digits)


def request(payload: str) -> bytes:
    return b'{"kind":"webhook_delivery","payload":{"url":"http://example.com/","body":%s}}' % payload.encode()


NESTED = request(filled("[]", "[%s]", PAYLOAD_BYTES - 100))


def test_wrong_batches_of_the_greatest_length_are_not_kept(own_server: Server) -> None:
    wrong = {"kind": "webhook_delivery", "payload": {f"k{n}": 1 for n in range(100)}, "x": "y" * 600}
    faults = json.dumps({**wrong, **{f"f{n}": 1 for n in range(20)}})
    lines = "\n".join([faults] * (16 * 2**20 // (len(faults) + 1)))

    with ExitStack() as kept, ThreadPoolExecutor(3) as senders:
        # Each on a connection that stays open, as behind a router.
        sessions = [kept.enter_context(requests.Session()) for _ in range(30)]
        answers = senders.map(lambda session: post(own_server, "/jobs/batch", lines, NDJSON, by=session), sessions)
        assert [answer.status_code for answer in answers] == [422] * 30
        assert memory(own_server, "VmHWM") < MOST_MB
        idle = memory(own_server, "VmRSS")
    # Some 52 at first; twice that without the limits of libc.py, and five times with errors that refer to themselves.
    assert idle < 90


def test_takes_jobs_of_nothing_but_lists_beside_a_batch_of_them(own_server: Server) -> None:
    lines = b"\n".join([NESTED] * (16 * 2**20 // (len(NESTED) + 1)))
    calls = [("/jobs", NESTED, "application/json")] * 4 + [("/jobs/batch", lines, NDJSON)]

    with ThreadPoolExecutor(5) as clients:
        *single, batch = clients.map(lambda call: post(own_server, *call), calls)

    assert [answer.status_code for answer in single] == [201] * 4
    assert batch.status_code == 201
    assert batch.json()["created"] == lines.count(b"\n") + 1 > 50
    assert single[0].json()["payload"] == json.loads(NESTED)["payload"]
    assert memory(own_server, "VmHWM") < MOST_MB


MEBIBYTE = 2**20
WRONG = {
    "lists and half of a pair": request("[" + "[]," * 340_000 + '"\\ud800"]'),
    "fields that are not known": b'{"kind":"send_email","payload":{%s}}'
    % b",".join(b'"%x":0' % n for n in range(100_000)),
    "headers that are none": b'{"kind":"webhook_delivery","payload":{"url":"http://e.com","headers":{%s}}}'
    % b",".join(b'" %x":0' % n for n in range(90_000)),
    "too long a payload of lists": request("[" + "[]," * 340_000 + "0]"),
}


@pytest.mark.parametrize("body", often(WRONG.items(), {"headers that are none"}))
def test_takes_wrong_jobs_of_a_mebibyte_beside_two_batches_of_them(own_server: Server, body: bytes) -> None:
    assert MEBIBYTE * 0.8 < len(body) <= MEBIBYTE
    lines = b"\n".join([body] * (16 * MEBIBYTE // (len(body) + 1)))
    calls = [("/jobs", body, "application/json")] * 4
    calls += [("/jobs/batch?atomic=false", lines, NDJSON)] * 2

    def ask(call: tuple[str, bytes, str]) -> requests.Response:
        until = time.monotonic() + 120
        while True:
            answer = post(own_server, *call)
            # If they wait for too long, or too many wait, they get 503 and come back.
            if answer.status_code != 503 or time.monotonic() > until:
                return answer

    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(ask, calls))

    assert {answer.status_code for answer in answers[:4]} <= {400, 413, 422}
    assert [answer.status_code for answer in answers[4:]] == [200] * 2
    assert max(len(answer.content) for answer in answers) < 100_000
    assert memory(own_server, "VmHWM") < MOST_MB


def test_pages_of_large_jobs_are_bounded_and_lead_to_all(own_server: Server, store: Callable[..., None]) -> None:
    store(STORED["one letter"], 100)
    path, seen, lengths = "/jobs?limit=90", [], []

    while path:
        answer = requests.get(own_server.url + path, timeout=30)
        assert answer.status_code == 200
        lengths.append(len(answer.content))
        seen += [job["id"] for job in answer.json()]
        path = answer.links["next"]["url"] if "next" in answer.links else ""

    assert len(set(seen)) == len(seen) == 100
    # It ends with the job that goes beyond.
    assert max(lengths) < search.PAGE_BYTES + 300_000
    assert len(lengths) == -(-100 // (search.PAGE_BYTES // 250_000 + 1))
