"""`haulier.Client` against a real service, and against what lies between: lost answers, 503, redirects. It ..."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID, uuid4

import pytest

import haulier
from app.api.schemas.job import JobResponse
from haulier import Client, HaulierError
from haulier.client import api, client, job_types, waiting
from haulier.requests.job_conditions import JobConditions
from haulier.requests.job_request import JobChanges, JobOptions
from tests.command_line.conftest import lossy
from tests.conftest import Sql
from tests.kinds.kinds_tools import receiving, reply
from tests.web import ROOT, Server, count_jobs, server, shared_server  # noqa: F401  # fixtures

KEY = "hlr_k3xq0v9a2b7c_" + "s" * 43
TEXT = {"text": "The ship came in. It was late."}
ABSENT = "01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71"
BUSY = b'{"error": "unavailable", "message": "later", "request_id": "r-1"}'


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of this machine name a service, and attempts follow each other at once."""
    for name in ("HAULIER_URL", "HAULIER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(api, "PAUSES", (0.0, 0.01, 0.02, 0.03, 0.04))


@pytest.fixture
def haulier_client(server: Server) -> Iterator[Client]:  # noqa: F811
    with Client(server.url) as made:
        yield made


def refusal(call: Callable[..., Any], *args: Any, **given: Any) -> HaulierError:
    """Return the error that a call raises."""
    with pytest.raises(HaulierError) as caught:
        call(*args, **given)
    return caught.value


@pytest.fixture
def mails(sql: Sql) -> None:
    """Store three pages of jobs."""
    payload = '{"order": {"id": 7}}'
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', %s FROM generate_series(1, 450)", payload)


def test_enqueues_a_job_with_every_option_and_reads_it(haulier_client: Client) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    job = haulier_client.enqueue(
        "summarize_text",
        TEXT,
        idempotency_key="order-4711",
        queue="bulk",
        priority=5,
        run_at=due,
        max_attempts=7,
        timeout_seconds=60,
        tags=["docs"],
    )

    assert haulier_client.get(job["id"]) == haulier_client.get(UUID(job["id"])) == job
    kept = (job["queue"], job["priority"], job["max_attempts"], job["timeout_seconds"], job["tags"])
    assert kept == ("bulk", 5, 7, 60, ["docs"])
    assert datetime.fromisoformat(job["run_at"]) == due
    assert haulier_client.enqueue("summarize_text", {**TEXT}, idempotency_key="other")["id"] != job["id"]
    assert refusal(haulier_client.enqueue, "summarize_text", TEXT, idempotency_key="order-4711").status == 422


def test_knows_the_fields_of_the_api() -> None:
    def fields(typed: Any) -> set[str]:
        return set(get_type_hints(typed))

    assert fields(job_types.Job) == JobResponse().fields.keys()
    assert fields(job_types.JobOptions) == JobOptions().fields.keys() - {"idempotency_key"}
    assert fields(job_types.JobChanges) == JobChanges().fields.keys()
    assert fields(job_types.JobFilter) == JobConditions().fields.keys() | {"payload"}


def test_stores_one_job_although_answers_are_lost(server: Server, sql: Sql) -> None:  # noqa: F811
    with lossy(server.url, lost=2) as url, Client(url) as made:
        one = made.enqueue("summarize_text", TEXT)
    with lossy(server.url, lost=1) as url, Client(url) as made:
        many = made.enqueue_many([{"kind": "summarize_text", "payload": TEXT}] * 3)

    stored = [str(row[0]) for row in sql("SELECT id FROM haulier.job ORDER BY id")]
    assert stored == [one["id"], *(each["id"] for each in many)]
    assert [each["replayed"] for each in many] == [True] * 3


def test_repeats_calls_after_503_and_a_proxys_502(server: Server) -> None:  # noqa: F811
    job = {"id": ABSENT, "status": "queued", "finished_at": None}
    answers = [(503, BUSY, {"Retry_After": "0"}), (502, b"<h1>Bad Gateway</h1>", {}), (429, BUSY, {})]
    done = (200, json.dumps(job).encode(), {})

    with receiving() as service, Client(service.url) as made:
        for call in (lambda: made.enqueue("mail"), lambda: made.get(ABSENT), lambda: made.cancel(ABSENT)):
            left = [*answers, done]
            service.answer = lambda handler, _: reply(handler, left[0][0], left[0][1], **left.pop(0)[2])  # noqa: B023
            call()

    assert len(service.requests) == 12
    keys = [request.headers.get("idempotency-key") for request in service.requests]
    assert len(set(keys[:4])) == 1
    assert UUID(keys[0])


def test_sends_no_retry_again_that_may_have_arrived() -> None:
    with receiving() as service, Client(service.url) as made:
        service.replies(503, BUSY)
        refused = refusal(made.retry, ABSENT)
        service.answer = lambda handler, _: None
        broken = refusal(made.retry, ABSENT)

    assert (refused.status, refused.error, refused.message, refused.request_id) == (503, "unavailable", "later", "r-1")
    assert (broken.status, broken.error) == (None, "")
    assert len(service.requests) == 2


def test_gives_up_in_time_however_long_it_is_to_wait() -> None:
    with receiving() as service, Client(service.url, timeout=20) as made:
        service.replies(503, BUSY, Retry_After="3600")
        began = time.monotonic()
        refused = refusal(made.get, ABSENT)
        # As a proxy may write it.
        service.replies(503, BUSY, Retry_After="Mon, 30 Nov 2099 04:00:00 GMT")
        refusal(made.get, ABSENT)

    assert time.monotonic() - began < 20
    assert (refused.status, len(service.requests)) == (503, 2)


def test_cancels_although_the_answer_is_lost(server: Server, haulier_client: Client) -> None:  # noqa: F811
    job = haulier_client.enqueue("summarize_text", TEXT)

    with lossy(server.url, lost=1) as url, Client(url) as made:
        assert made.cancel(job["id"]) == "cancelled"

    assert haulier_client.retry(job["id"], priority=7)["priority"] == 7
    assert refusal(haulier_client.retry, job["id"]).status == 409


def test_cancels_no_job_that_has_ended_otherwise(haulier_client: Client, sql: Sql) -> None:
    job = haulier_client.enqueue("summarize_text", TEXT)
    haulier_client.cancel(job["id"])
    sql("UPDATE haulier.finished_job SET status = 'succeeded'")

    assert refusal(haulier_client.cancel, job["id"]).error == "conflict"


def test_lists_as_many_pages_as_are_read(server: Server, mails: None) -> None:  # noqa: F811
    lines: list[str] = []

    with lossy(server.url) as url, Client(url) as made:
        made._api._trace = lines.append
        first = list(islice(made.list(kind="mail"), 201))
        asked = [line for line in lines if line.startswith("> GET")]

    assert (len({job["id"] for job in first}), len(asked)) == (201, 2)


def test_lists_by_conditions_to_the_end(haulier_client: Client, mails: None) -> None:
    job = haulier_client.enqueue("summarize_text", TEXT, tags=["rare"])
    hour_ago = datetime.now(UTC) - timedelta(hours=1)

    assert len({each["id"] for each in haulier_client.list()}) == 451
    assert len(list(haulier_client.list(kind=["mail", "other"], payload={"order.id": 7}, limit=300))) == 300
    assert [each["id"] for each in haulier_client.list(tag="rare", created_after=hour_ago)] == [job["id"]]
    assert list(haulier_client.list(status=("cancelled", "running"))) == []
    assert "colour" in str(refusal(list, haulier_client.list(colour="red")))  # type: ignore[call-arg]


def test_enqueues_many_in_order_and_names_the_position_of_a_refused_one(haulier_client: Client, sql: Sql) -> None:
    jobs: list[job_types.JobRequest] = [
        {"kind": "summarize_text", "payload": {"text": str(number)}, "idempotency_key": f"many-{number}"}
        for number in range(2100)
    ]
    faulty = [*jobs[:1002], {"kind": "summarize_text", "payload": {"txt": "?"}}, *jobs[1002:]]

    refused = refusal(haulier_client.enqueue_many, faulty)
    enqueued = haulier_client.enqueue_many(iter(jobs))

    assert list(refused.details) == ["1002"]
    assert "jobs from 1,000 on: " in str(refused)
    assert [each["replayed"] for each in enqueued] == [True] * 1000 + [False] * 1100
    texts = dict(sql("SELECT id::text, payload ->> 'text' FROM haulier.job"))
    assert [texts[each["id"]] for each in enqueued] == [str(number) for number in range(2100)]
    assert haulier_client.enqueue_many([]) == []


def test_sends_no_batch_that_is_too_large(haulier_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # 24 MB in 100 jobs, of which the service takes 16 MiB at once.
    jobs: list[job_types.JobRequest] = [{"kind": "summarize_text", "payload": {"text": "a " * 120_000}}] * 100

    assert len({each["id"] for each in haulier_client.enqueue_many(jobs)}) == 100


def test_waits_for_the_end_of_a_job_and_no_longer_than_is_asked(haulier_client: Client, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "SOON", 0.01)
    job = haulier_client.enqueue("summarize_text", TEXT, delay_seconds=3600)
    waited: list[Any] = []

    with pytest.raises(TimeoutError, match=f"job {job['id']} is queued after 0.05 s"):
        haulier_client.wait(job["id"], timeout=0.05)
    thread = threading.Thread(target=lambda: waited.append(haulier_client.wait(job["id"], timeout=60)))
    thread.start()
    haulier_client.cancel(job["id"])
    thread.join()

    assert [each["status"] for each in waited] == ["cancelled"]


def test_says_what_is_wrong_with_which_field(haulier_client: Client) -> None:
    host = haulier_client._api.service.host

    refused = refusal(haulier_client.enqueue, "summarize_text", {"txt": "?"}, priority=1000)
    absent = refusal(haulier_client.get, ABSENT)

    assert (refused.status, refused.error) == (422, "validation")
    assert refused.details["payload"]["text"] == ["Missing data for required field."]
    assert refused.details["priority"]
    assert str(refused) == f"{host} refuses: {refused.message} (request {refused.request_id})"
    assert "payload.text: " in str(refused)
    assert (absent.status, absent.error, absent.details) == (404, "not_found", {})
    # As a pool of processes sends it.
    assert vars(pickle.loads(pickle.dumps(refused))) == vars(refused)


def test_refuses_bad_arguments_before_any_call_and_names_them() -> None:
    with receiving() as service, Client(service.url) as made:
        wrong: dict[str, Callable[[], object]] = {
            "url: must be a URL": lambda: Client("jobs.example.com"),
            "url: must be a URL such": lambda: Client("", KEY),
            "url: must not contain a password": lambda: Client("https://ann:hidden@jobs.example.com"),
            "api_key: must be": lambda: Client(api_key="hid den"),
            "timeout: must be more than 0": lambda: Client(timeout=0),
            "job_id: '../keys' is not": lambda: made.get("../keys"),
            "idempotency_key: must be": lambda: made.enqueue("mail", idempotency_key="a\nb"),
            "a Decoder is not JSON|a JSONDecoder is not JSON": lambda: made.enqueue("mail", {"at": json.JSONDecoder()}),
        }
        for text, call in wrong.items():
            with pytest.raises((ValueError, TypeError), match=text) as caught:
                call()
            assert "hid" not in str(caught.value)

    assert service.requests == []


def test_gives_the_key_to_its_own_service_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(*args: Any, **given: Any) -> list[str | None]:
        before = len(service.requests)
        Client(*args, **given).enqueue("mail", {"at": datetime.now(UTC), "order": uuid4()})
        return [request.headers.get("authorization") for request in service.requests[before:]]

    with receiving() as service, receiving() as other:
        service.replies(201, json.dumps({"id": ABSENT, "status": "queued", "finished_at": None}).encode())
        monkeypatch.setenv("HAULIER_API_KEY", KEY)
        assert sent(service.url) == sent(service.url, KEY) == [f"Bearer {KEY}"]
        monkeypatch.setenv("HAULIER_URL", f"{service.url}/")
        assert sent() == sent(service.url) == [f"Bearer {KEY}"]
        monkeypatch.setenv("HAULIER_URL", "https://jobs.example.com")
        assert sent(service.url) == [None]
        service.replies(307, b"", Location=f"{other.url}/jobs")
        refused = refusal(Client(service.url, KEY).enqueue, "mail")

    assert f"redirects to {other.url}/jobs: use that as the URL" in str(refused)
    assert other.requests == []


def test_shows_its_key_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving() as service:
        service.replies(503, BUSY)
        made = Client(service.url, KEY)
        refused = refusal(made.get, ABSENT)

    assert "retrying in" in caplog.text
    assert KEY not in f"{caplog.text}{made!r}{made._api.service!r}{refused!r}{vars(refused)}"


def test_says_how_a_service_is_named_if_none_answers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "DEFAULT_URL", "http://127.0.0.1:1")

    assert str(refusal(Client(timeout=0.5).get, ABSENT)).endswith(
        "cannot be reached: Connection refused; no URL was given: pass url, or set HAULIER_URL"
    )


def test_tells_answers_of_another_program_apart() -> None:
    with receiving() as service, Client(service.url) as made:
        for body in (b"thanks", b"[]", b'{"id": 1}'):
            service.replies(200, body)
            calls = [lambda: made.get(ABSENT), lambda: made.enqueue_many([{"kind": "mail"}]), lambda: list(made.list())]
            for call in calls[: 2 if body == b"[]" else 3]:
                assert "is the URL" in str(refusal(call)), body


def test_serves_threads_at_once(haulier_client: Client) -> None:
    barrier, ids = threading.Barrier(8), set[str]()

    def enqueue() -> None:
        barrier.wait()
        for _ in range(5):
            ids.add(haulier_client.enqueue("summarize_text", TEXT)["id"])

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 40
    assert len(haulier_client._api._idle) <= 8


def test_shares_no_connection_with_a_child_process() -> None:
    job = json.dumps({"id": ABSENT, "status": "queued", "finished_at": None}).encode()
    program = f"""if True:
        import os, sys
        from haulier import Client
        client = Client(sys.argv[1])
        client.get("{ABSENT}")
        if child := os.fork():
            sys.exit(os.waitpid(child, 0)[1])
        client.get("{ABSENT}")
    """

    def answer(handler: BaseHTTPRequestHandler, _: object) -> None:
        handler.protocol_version, handler.close_connection = "HTTP/1.1", False
        reply(handler, 200, job)

    with receiving(answer) as service:
        subprocess.run([sys.executable, "-c", program, service.url], cwd=ROOT, check=True, timeout=60)

    assert (len(service.requests), service.connections) == (2, 2)


@pytest.mark.slow
def test_is_typed_for_those_who_check_strictly(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(
        """\
from haulier import Client, HaulierError

with Client("https://jobs.example.com", timeout=5) as client:
    try:
        job = client.enqueue("mail", {"to": "ann@example.com"}, priority=5)
        reveal_type(job["status"])
        ids: list[str] = [each["id"] for each in client.enqueue_many([{"kind": "mail", "payload": {}}])]
        for each in client.list(status=["queued"], payload={"order.id": 4711}):
            client.cancel(each["id"])
    except HaulierError as error:
        print(error.status, error.details)
    client.enqueue("mail", colour="red")
"""
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), str(program)]

    done = subprocess.run(
        command, env={**os.environ, "MYPYPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )

    faults = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if ": error: " in line]
    assert faults == ['error: Unexpected keyword argument "colour" for "enqueue" of "Client"  [call-arg]'], done.stdout
    assert "Literal['queued']" in done.stdout


def test_offers_nothing_else_at_the_top() -> None:
    assert haulier.Client is Client
    with pytest.raises(AttributeError, match="module 'haulier' has no attribute 'Cleint'"):
        _ = haulier.Cleint  # type: ignore[attr-defined]
