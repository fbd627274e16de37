"""Every request of the corpus, against a real gunicorn and a real worker."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from psycopg2.extensions import connection as Connection

from tests.hostile.bodies import FRAGMENTS, batches, bodies, poisoned, types
from tests.hostile.conftest import SECRETS, Ear, Watched, ended
from tests.hostile.framing import framings, lines, smuggled
from tests.hostile.paths_and_headers import (
    at_doors,
    empty_segments,
    headers,
    heads,
    mapped,
    paths,
    queries,
    scrapes,
)
from tests.hostile.wire import REFUSED, Answered, Hostile, send
from tests.web import Server, gunicorn

GOOD = {"kind": "summarize_text", "payload": {"text": "The ship came in. It was late."}}
# What an answer must not tell: how the service is made, and what it was doing.
TELLTALES = (b"Traceback", b'File "', b"psycopg2", b"werkzeug", b"haulier.job", b"gunicorn/", b"Python/", b"postgres")

ESTABLISHED = "01"
TROUBLE = re.compile("Traceback| ERROR | CRITICAL ")
# What anyone may read.
PUBLIC = re.compile(rb"^(GET|HEAD|OPTIONS) (http://[^/ ]*)?/(health|docs|api-docs)", re.MULTILINE)


# One of each share is sent, drawn by a seed, and all of them by `make test-slow`.
SEED = 1
SHARES = [pytest.param(6, id="a sixth"), pytest.param(1, id="all", marks=pytest.mark.slow)]


def corpus() -> list[Hostile]:
    """Return every request of which nothing may be stored: refused, closed upon, or answered without a change."""
    at_paths = [*paths(), *empty_segments(), *queries()]
    return [*bodies(), *batches(), *types(), *at_paths, *headers(), *framings(), *smuggled(), *at_doors()]


def drawn(cases: list[Hostile], share: int) -> list[Hostile]:
    chosen = random.Random(SEED).sample(range(len(cases)), len(cases) // share)
    return [cases[number] for number in sorted(chosen)]


def rows(conn: Connection) -> dict[str, int]:
    """Return how many rows each table holds, but for the version and release, and the row by which names take turns."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace AND relkind = 'r'")
        found = {}
        for (table,) in cursor.fetchall():
            others = "WHERE name <> 'default'" if table == "queue" else ""
            cursor.execute(f'SELECT count(*) FROM haulier."{table}" {others}')
            found[table] = cursor.fetchone()[0]
    return {table: count for table, count in found.items() if count and table not in ("schema_version", "deployment")}


def fault(case: Hostile, answered: Answered) -> str | None:
    wrong = [status for status in answered.statuses if status not in case.allowed]
    # Pages that were asked for may name what they are made with; and a refusal may quote what was sent.
    marks = TELLTALES[:1] if 200 in answered.statuses else TELLTALES
    revealed = [mark for mark in marks if mark in answered.text and mark not in case.sent]
    too_many = case.answers is not None and len(answered.statuses) > case.answers
    is_wrong = wrong or revealed or too_many or answered.rest
    return f"{answered.statuses} {revealed} {answered.rest!r:.300} {answered.text[:300]!r}" if is_wrong else None


def connections_to(server: Server) -> int:
    port = urlsplit(server.url).port
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port:04X}") and state == ESTABLISHED for _, local, _, state, *_ in lines)


def faults_of(url: str, share: int, ear: Ear, is_in: Callable[[Hostile, Answered], bool]) -> dict[str, str]:
    """Send the corpus, and return what is wrong with answers. The corpus is not small by mistake."""
    cases, faults = corpus(), {}
    assert len({case.sent for case in cases if case.allowed is REFUSED}) >= 2000
    for case in drawn(cases, share):
        answered = send(url, case.sent.replace(b"{ear}", str(ear.port).encode()))
        if found := fault(case, answered) or (f"let in: {answered.statuses}" if is_in(case, answered) else None):
            faults[case.name] = found
    print(*(f"{name}: {what}" for name, what in faults.items()), sep="\n")
    return faults


# All of the corpus takes a minute on a machine of its own.
@pytest.mark.timeout(400)
@pytest.mark.parametrize("share", SHARES)
def test_no_hostile_request_does_harm(
    api: Watched, ear: Ear, conn: Connection, eventually: Callable[..., Any], share: int
) -> None:
    before = rows(conn)

    assert faults_of(api.server.url, share, ear, lambda case, answered: False) == {}

    assert rows(conn) == before == {}
    assert ear.heard == api.spoke_to == []
    eventually(lambda: connections_to(api.server) == 0)
    assert not TROUBLE.search(api.server.log.read_text())
    assert requests.post(f"{api.server.url}/jobs", json=GOOD).status_code == 201


@pytest.mark.parametrize("share", SHARES)
def test_none_of_them_gets_in_if_keys_are_asked_for(
    database: str, ear: Ear, conn: Connection, eventually: Callable[..., Any], share: int
) -> None:
    def is_in(case: Hostile, answered: Answered) -> bool:
        return any(status < 400 for status in answered.statuses) and not PUBLIC.search(case.sent)

    before = rows(conn)

    with gunicorn(database, eventually, WEB_CONCURRENCY="1", HAULIER_API_KEY="0123456789abcdef" * 2) as server:
        assert faults_of(server.url, share, ear, is_in) == {}
        eventually(lambda: connections_to(server) == 0)
        log = server.log.read_text()

    assert rows(conn) == before == {}
    assert not TROUBLE.search(log)


@pytest.mark.parametrize("share", SHARES)
def test_none_of_them_harms_a_workers_port(
    start_worker: Callable[..., Watched], eventually: Callable[..., Any], share: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker, url, faults = start_worker(WORKER_METRICS_PORT=str(port)), f"http://127.0.0.1:{port}", {}
    # Until its threads have begun it is not healthy.
    eventually(lambda: requests.get(f"{url}/health").ok)

    for case in drawn([*framings(), *lines(), *scrapes(), *mapped(), *heads()], share):
        answered = send(url, case.sent)
        if any(status >= 500 for status in answered.statuses) or answered.text.count(b"HTTP/1.0 ") > 1:
            faults[case.name] = answered.statuses

    assert not faults
    assert requests.get(f"{url}/health").json()["status"] == "ok"
    assert "Traceback" not in worker.server.log.read_text()
    assert worker.server.process.poll() is None


def test_a_fragment_in_free_text_is_kept_as_it_is(api: Watched) -> None:
    for text in FRAGMENTS:
        job = {"kind": "summarize_text", "payload": {"text": text}}

        made = requests.post(f"{api.server.url}/jobs", json=job)
        found = requests.get(f"{api.server.url}{made.headers['Location']}")

        assert made.status_code == 201
        assert found.json()["payload"] == {"text": text}
        assert found.headers["Content-Type"] == "application/json"
        assert found.headers["X-Content-Type-Options"] == "nosniff"


def connects(worker: Watched) -> list[str]:
    """Return a line for each connection that its kinds tried to make."""
    return [line for line in worker.spoke_to if not line.startswith("socket.getaddrinfo")]


def enqueue(api: Watched, job: dict[str, Any], ear: Ear) -> str:
    body = json.dumps({**job, "max_attempts": 1}).replace("{ear}", str(ear.port))
    answer = requests.post(f"{api.server.url}/jobs", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, (job, answer.text)
    return str(answer.json()["id"])


def test_no_poisoned_job_reaches_inside(
    api: Watched,
    ear: Ear,
    start_worker: Callable[..., Watched],
    conn: Connection,
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    names = {enqueue(api, job, ear): name for name, job in poisoned()}
    storage = tmp_path / "storage"
    storage.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (storage / "link.png").symlink_to(tmp_path / "secret.png")
    worker = start_worker(STORAGE_URL=storage.as_uri())
    good = enqueue(api, GOOD, ear)

    eventually(lambda: ended(conn) == len(names) + 1)

    with conn.cursor() as cursor:
        cursor.execute("SELECT id::text, status, last_error FROM haulier.finished_job")
        outcomes = {job_id: (status, error) for job_id, status, error in cursor.fetchall()}
    assert outcomes.pop(good) == ("succeeded", None)
    assert {names[job_id] for job_id, (status, _) in outcomes.items() if status != "failed_permanent"} == set()
    assert ear.heard == []
    assert connects(worker) == []
    assert [path.name for path in storage.iterdir()] == ["link.png"]
    revealed = worker.server.log.read_text() + json.dumps(outcomes)
    assert [secret for secret in (SECRETS["WEBHOOK_SECRET"], "hunter2") if secret in revealed] == []
    assert "root:" not in revealed
    assert worker.server.process.poll() is None


def test_the_ear_hears_and_the_witness_sees_where_it_is_allowed(
    api: Watched, ear: Ear, start_worker: Callable[..., Watched], conn: Connection, eventually: Callable[..., Any]
) -> None:
    worker = start_worker(OUTBOUND_ALLOW_PRIVATE=f"127.0.0.1:{ear.port}")
    url = "http://127.0.0.1:{ear}/"

    enqueue(api, {"kind": "webhook_delivery", "payload": {"url": url, "body": 1}}, ear)

    eventually(lambda: ended(conn) == 1)
    assert len(ear.heard) == 1
    assert connects(worker) == [f"socket.connect ('127.0.0.1', {ear.port})"]
    ear.heard.clear()
