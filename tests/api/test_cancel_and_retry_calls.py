"""POST /jobs/{id}/cancel and /retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import consume
from tests import queueing

NOBODY = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"


@pytest.fixture
def job(client: FlaskClient, email: dict[str, Any]) -> str:
    """Give the path of a job that waits."""
    return str(client.post("/jobs", json=email).headers["Location"])


@pytest.fixture
def run(conn: Connection) -> Callable[..., None]:
    """Give a function that claims the job, and settles it when it is told how."""

    def run(outcome: Outcome | None = None) -> None:
        worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30.0)
        [claimed] = queueing.claim(conn, worker_id=UUID(str(worker)), claim_id=uuid4(), queues=())
        if outcome:
            consume.settle(conn, [Settlement(Fence.of(claimed), outcome)])

    return run


def test_a_waiting_job_is_cancelled_at_once(client: FlaskClient, job: str) -> None:
    answer = client.post(f"{job}/cancel")

    assert answer.status_code == 200
    assert answer.json == {"status": "cancelled", "job_id": job.removeprefix("/jobs/")}
    assert client.get(job).json["status"] == "cancelled"


def test_a_retrying_job_is_cancelled_at_once(client: FlaskClient, job: str, run: Callable[..., None]) -> None:
    run(Outcome.fail("no luck", delay=60))
    assert client.get(job).json["status"] == "retrying"

    answer = client.post(f"{job}/cancel")

    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")


def test_a_running_job_is_asked_to_stop_as_often_as_one_likes(
    client: FlaskClient, job: str, run: Callable[..., None]
) -> None:
    run()

    answers = [client.post(f"{job}/cancel") for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 202
        assert answer.json == {"status": "pending", "job_id": job.removeprefix("/jobs/")}
        assert (answer.headers["Location"], answer.headers["Retry-After"]) == (job, "1")
    assert client.get(job).json["cancel_requested"] is True


def test_a_job_that_has_ended_is_409(client: FlaskClient, job: str, run: Callable[..., None]) -> None:
    run(Outcome.complete({"ok": 1}))

    answer = client.post(f"{job}/cancel")

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "cannot cancel when status=succeeded" in answer.json["message"]


def test_retry_gives_a_failed_job_a_full_budget(client: FlaskClient, job: str, run: Callable[..., None]) -> None:
    run(Outcome.fail_for_good("no luck"))
    failed = client.get(job).json
    assert (failed["status"], failed["attempts"]) == ("failed_permanent", 1)

    answer = client.post(f"{job}/retry")

    again = answer.json
    assert answer.status_code == 200
    assert (again["status"], again["attempts"], again["finished_at"], again["result"]) == ("queued", 0, None, None)
    assert (again["last_error"], len(again["errors"])) == ("no luck", 1)
    assert set(again["errors"][0]) == {"attempt", "started_at", "at", "worker", "error"}
    assert again["errors"][0]["at"].endswith("Z")
    assert client.get(job).json == again


def test_retry_brings_a_cancelled_job_back(client: FlaskClient, job: str) -> None:
    client.post(f"{job}/cancel")

    answer = client.post(f"{job}/retry")

    assert (answer.status_code, answer.json["status"], answer.json["cancel_requested"]) == (200, "queued", False)


def test_retry_of_a_waiting_job_is_409(client: FlaskClient, job: str) -> None:
    answer = client.post(f"{job}/retry")

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "cannot retry when status=queued" in answer.json["message"]


@pytest.mark.parametrize(
    ("action", "body", "content_type"),
    [
        ("cancel", b"", None),
        ("cancel", b"{}", "application/json"),
        ("cancel", b"\xff not json", "text/plain"),
        ("retry", b"", None),
        ("retry", b"", "text/plain"),
        ("retry", b"{}", "application/json"),
    ],
)
def test_neither_needs_a_body(
    client: FlaskClient, job: str, action: str, body: bytes, content_type: str | None
) -> None:
    if action == "retry":
        client.post(f"{job}/cancel")

    answer = client.post(f"{job}/{action}", data=body, content_type=content_type)

    assert answer.status_code == 200


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_job_that_is_not_there_is_404(client: FlaskClient, action: str) -> None:
    answers = [client.post(f"/jobs/{job}/{action}") for job in (NOBODY, "nonsense")]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_the_result_is_shown(client: FlaskClient, job: str, run: Callable[..., None]) -> None:
    run(Outcome.complete({"sent": [1, None, "é"]}))

    got = client.get(job).json

    assert (got["status"], got["attempts"], got["result"]) == ("succeeded", 1, {"sent": [1, None, "é"]})
