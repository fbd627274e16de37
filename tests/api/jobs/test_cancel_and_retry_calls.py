"""POST /jobs/{id}/cancel and /retry."""

from __future__ import annotations

from flask.testing import FlaskClient

from haulier.domain.outcome import Outcome
from tests.api.conftest import End
from tests.web import EMAIL


def test_a_waiting_or_retrying_job_is_cancelled_at_once(client: FlaskClient, job: str, end: End) -> None:
    end(Outcome.fail("no luck", delay=60))
    waiting = client.post("/jobs", json=EMAIL).headers["Location"]
    assert [client.get(path).json["status"] for path in (job, waiting)] == ["retrying", "queued"]

    for path in (job, waiting):
        answer = client.post(f"{path}/cancel")

        assert answer.status_code == 200
        assert answer.json == {"status": "cancelled", "job_id": path.removeprefix("/jobs/")}
        assert client.get(path).json["status"] == "cancelled"


def test_a_running_job_is_asked_to_stop_as_often_as_one_likes(client: FlaskClient, job: str, end: End) -> None:
    end()

    answers = [client.post(f"{job}/cancel") for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 202
        assert answer.json == {"status": "pending", "job_id": job.removeprefix("/jobs/")}
        assert (answer.headers["Location"], answer.headers["Retry-After"]) == (job, "1")
    assert client.get(job).json["cancel_requested"] is True


def test_a_job_that_has_ended_shows_its_result_and_is_409(client: FlaskClient, job: str, end: End) -> None:
    end(Outcome.complete({"sent": [1, None, "é"]}))

    got, answer = client.get(job).json, client.post(f"{job}/cancel")

    assert (got["status"], got["attempts"], got["result"]) == ("succeeded", 1, {"sent": [1, None, "é"]})
    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "cannot cancel when status=succeeded" in answer.json["message"]


def test_retry_gives_a_failed_job_a_full_budget(client: FlaskClient, job: str, end: End) -> None:
    end(Outcome.fail_for_good("no luck"))
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


def test_retry_queues_a_cancelled_job_and_is_409_for_a_waiting_one(client: FlaskClient, job: str) -> None:
    client.post(f"{job}/cancel")

    answer, again = client.post(f"{job}/retry"), client.post(f"{job}/retry")

    assert (answer.status_code, answer.json["status"], answer.json["cancel_requested"]) == (200, "queued", False)
    assert (again.status_code, again.json["error"]) == (409, "conflict")
    assert "cannot retry when status=queued" in again.json["message"]


def test_neither_needs_a_body(client: FlaskClient) -> None:
    bodies = [(b"", None), (b"", "text/plain"), (b"{}", "application/json")]
    for body, content_type in bodies:
        job = client.post("/jobs", json=EMAIL).headers["Location"]
        for action in ("cancel", "retry"):
            answer = client.post(f"{job}/{action}", data=body, content_type=content_type)

            assert answer.status_code == 200, (action, body, content_type)
        # A cancel reads none.
        assert client.post(f"{job}/cancel", data=b"\xff not json", content_type="text/plain").status_code == 200
