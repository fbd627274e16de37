"""POST /jobs: what is stored, and what the answer says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

FIELDS = [
    *("id", "kind", "status", "attempts", "max_attempts", "last_error", "payload", "run_at", "created_at"),
    *("updated_at", "idempotency_key", "queue", "priority", "tags", "timeout_seconds", "cancel_requested"),
    *("started_at", "finished_at", "copy_of", "result", "errors", "progress", "worker_id", "schedule"),
    "scheduled_for",
]
# Of a new job.
NULL = {"last_error", "idempotency_key", "timeout_seconds", "started_at", "finished_at", "copy_of", "result"}
NULL |= {"progress", "worker_id", "schedule", "scheduled_for"}


Json = dict[str, Any]


def test_it_answers_201_with_the_job_and_a_relative_location(client: FlaskClient, email: Json) -> None:
    answer = client.post("/jobs", json=email)

    job = answer.json
    assert answer.status_code == 201
    assert list(job) == FIELDS
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert client.get(answer.headers["Location"]).json == job
    assert (job["status"], job["attempts"], job["max_attempts"]) == ("queued", 0, 3)
    assert (job["queue"], job["priority"], job["errors"], job["tags"]) == ("default", 0, [], [])
    assert job["cancel_requested"] is False
    assert {name for name in FIELDS if job[name] is None} == NULL


def test_it_stores_every_option(client: FlaskClient, email: Json) -> None:
    options = {"max_attempts": 7, "queue": "mail.high-1", "priority": -100, "timeout_seconds": 86_400}
    options["tags"] = ["vip", "größe 😀", "x" * 64]

    job = client.post("/jobs", json={**email, **options, "idempotency_key": "k"}).json

    assert {name: job[name] for name in options} == options
    assert job["idempotency_key"] == "k"


def test_null_counts_as_absent_in_every_optional_field(client: FlaskClient, email: Json) -> None:
    names = ["max_attempts", "idempotency_key", "queue", "priority", "run_at", "delay_seconds", "timeout_seconds"]
    names.append("tags")
    email["payload"]["html"] = None

    answer = client.post("/jobs", json={**email, **dict.fromkeys(names)})

    assert answer.status_code == 201
    assert (answer.json["max_attempts"], answer.json["queue"], answer.json["priority"]) == (3, "default", 0)


def test_the_payload_is_kept_as_it_was_given(client: FlaskClient) -> None:
    payload = {"text": "A ship. \N{DELIVERY TRUCK} \\u0000 'quoted' %s %(x)s", "language": None}

    job = client.post("/jobs", json={"kind": "summarize_text", "payload": payload}).json

    assert client.get(f"/jobs/{job['id']}").json["payload"] == payload


def test_the_content_type_may_name_utf_8(client: FlaskClient) -> None:
    body = '{"kind": "summarize_text", "payload": {"text": "Grüße."}}'.encode()
    for content_type in ("application/json", "application/json; charset=UTF-8", "Application/JSON"):
        answer = client.post("/jobs", data=body, content_type=content_type)

        assert (answer.status_code, answer.json["payload"]["text"]) == (201, "Grüße.")


def test_run_at_is_stored_in_utc_and_never_before_now(client: FlaskClient, email: Json) -> None:
    stored = {
        "2031-01-02T03:04:05.678901Z": "2031-01-02T03:04:05.678901Z",
        "2031-01-02t04:04:05.678901+01:00": "2031-01-02T03:04:05.678901Z",
        "2031-01-01T21:04:05.678901-06:00": "2031-01-02T03:04:05.678901Z",
        # A leap second is the next one.
        "2030-12-31T23:59:60Z": "2031-01-01T00:00:00.000000Z",
    }
    past = ["1000-01-01T00:00:00Z", "1969-07-20T20:17:40Z", "2026-01-01T00:00:00+14:00"]

    jobs = {run_at: client.post("/jobs", json={**email, "run_at": run_at}).json for run_at in (*stored, *past)}

    assert {run_at: jobs[run_at]["run_at"] for run_at in stored} == stored
    assert [run_at for run_at in past if jobs[run_at]["run_at"] != jobs[run_at]["created_at"]] == []


def test_delay_seconds_counts_from_the_databases_now(client: FlaskClient, email: Json) -> None:
    for seconds in (0, 0.5, 60, 31_536_000):
        job = client.post("/jobs", json={**email, "delay_seconds": seconds}).json

        waits = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
        assert waits == timedelta(seconds=seconds)
        assert abs(datetime.fromisoformat(job["created_at"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_takes_a_payload_of_256_kib_and_not_one_byte_more(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    frame = len('{"text":""}')
    fits, does_not = ({"text": "x" * (262_144 - frame + more)} for more in (0, 1))

    taken = client.post("/jobs", json={"kind": "summarize_text", "payload": fits})
    refused = client.post("/jobs", json={"kind": "summarize_text", "payload": does_not})

    assert taken.status_code == 201
    assert (refused.status_code, refused.json["error"]) == (413, "too_large")
    assert "payload" in refused.json["message"]
    assert count_jobs() == 1
