"""POST /jobs/{id}/cancel, /retry and /copy, PATCH and DELETE /jobs/{id}."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue.jobs.change import Changes, change
from tests.api.conftest import End
from tests.conftest import Sql
from tests.http.answers import not_refused
from tests.http.callers import MakeApp, MakeKey
from tests.web import EMAIL


def test_a_waiting_or_retrying_job_is_cancelled_at_once(client: FlaskClient, job: str, end: End) -> None:
    end(Outcome.fail("no luck", delay=60))
    fewer = client.patch(job, json={"max_attempts": 1})
    assert (fewer.status_code, set(fewer.json["details"])) == (422, {"max_attempts"})
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
    assert "its status is succeeded" in answer.json["message"]


def test_retry_gives_a_failed_or_cancelled_job_a_full_budget(client: FlaskClient, job: str, end: End) -> None:
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
    waits = client.post(f"{job}/retry")
    assert (waits.status_code, waits.json["error"]) == (409, "conflict")
    assert "its status is queued" in waits.json["message"]
    # Neither call needs a body.
    for body, content_type in ((b"", None), (b"", "text/plain"), (b"{}", "application/json")):
        acts = [client.post(f"{job}/{verb}", data=body, content_type=content_type) for verb in ("cancel", "retry")]
        assert [(act.status_code, act.json["status"]) for act in acts] == [(200, "cancelled"), (200, "queued")]
        assert acts[1].json["cancel_requested"] is False
    # A cancel reads none.
    assert client.post(f"{job}/cancel", data=b"\xff not json", content_type="text/plain").status_code == 200


REFUSED = [
    *(({"priority": value}, "priority") for value in (101, "7")),
    ({"queue": "Bulk"}, "queue"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"timeout_seconds": 0}, "timeout_seconds"),
    ({"tags": ["a", "a"]}, "tags.1"),
    ({"run_at": "2030-01-01"}, "run_at"),
    ({"delay_seconds": -1}, "delay_seconds"),
    ({"delay_seconds": 1, "run_at": "2030-01-01T00:00:00Z"}, "delay_seconds"),
    *(({"payload": value}, "payload") for value in ({"to": "a@b.c"}, [])),
    ({"kind": "resize_image"}, "kind"),
    ({"idempotency_key": "k"}, "idempotency_key"),
    ([], "_schema"),
]


def test_changes_each_field_of_a_waiting_job_but_absent_and_null_ones(client: FlaskClient, job: str) -> None:
    changes = {
        **{"queue": "bulk", "priority": 7, "run_at": "2030-01-01T00:00:00.000000Z", "max_attempts": 9, "tags": []},
        **{"timeout_seconds": 60, "payload": {**EMAIL["payload"], "subject": "Ho"}},
    }
    before = client.get(job).json
    unchanged = [client.patch(job, json=body) for body in ({}, {"tags": None, "priority": None, "payload": None})]
    assert [(answer.status_code, answer.json) for answer in unchanged] == [(200, before)] * 2

    answer = client.patch(job, json=changes)

    assert answer.status_code == 200
    assert answer.json == {**before, **changes, "updated_at": answer.json["updated_at"]} == client.get(job).json
    [entry] = client.get("/audit").json
    assert (entry["action"], entry["job_id"]) == ("change", before["id"])
    assert entry["details"]["changes"] == {name: {"old": before[name], "new": value} for name, value in changes.items()}
    # Of a long payload the record has the length.
    client.patch(job, json={"payload": {**EMAIL["payload"], "body": "x" * 20_000}})
    payload = client.get("/audit").json[0]["details"]["changes"]["payload"]
    assert (payload.pop("new_bytes") > 20_000, payload) == (True, {"old": changes["payload"]})


def test_refuses_a_change_that_does_not_fit_and_names_it(client: FlaskClient, job: str) -> None:
    ended = client.post("/jobs", json=EMAIL).headers["Location"]
    client.post(f"{ended}/cancel")
    before = client.get("/jobs").json

    wrong = [
        not_refused(lambda body: client.patch(job, json=body), REFUSED),
        not_refused(lambda body: client.post(f"{ended}/retry", json=body), REFUSED),
        not_refused(lambda body: client.post(f"{ended}/copy", json=body), REFUSED),
    ]

    assert wrong == [[], [], []]
    assert client.get("/jobs").json == before


def test_refuses_too_long_a_payload_and_a_body_of_another_type(client: FlaskClient, job: str) -> None:
    long = {**EMAIL["payload"], "body": "x" * 262_144}

    answers = [
        client.patch(job, json={"payload": long}),
        client.patch(job, data="{}", content_type="text/plain"),
        client.patch(job),
        client.post(f"{job}/copy", data="{}", content_type="text/plain"),
        client.patch(job, data="{", content_type="application/json"),
    ]

    assert [answer.status_code for answer in answers] == [413, 415, 415, 415, 400]


def test_retries_with_changes_and_the_record_keeps_the_original(client: FlaskClient, job: str, end: End) -> None:
    end(Outcome.fail_for_good("no"))
    payload = {**EMAIL["payload"], "subject": "Ho"}

    answer = client.post(f"{job}/retry", json={"payload": payload, "priority": 5})

    assert (answer.status_code, answer.json["status"], answer.json["attempts"]) == (200, "queued", 0)
    assert (answer.json["payload"], answer.json["priority"], answer.json["last_error"]) == (payload, 5, "no")
    [entry] = client.get("/audit").json
    assert entry["details"] == {
        "kind": "send_email",
        "changes": {"payload": {"old": EMAIL["payload"], "new": payload}, "priority": {"old": 0, "new": 5}},
    }


def test_copies_a_job_in_any_state(client: FlaskClient, job: str, end: End) -> None:
    original = client.get(job).json
    copies = [client.post(f"{job}/copy")]
    client.post(f"{copies[0].headers['Location']}/cancel")
    end(None)
    copies.append(client.post(f"{job}/copy", json={"queue": "bulk"}))

    assert [copy.status_code for copy in copies] == [201, 201]
    for copy in copies:
        assert copy.headers["Location"] == f"/jobs/{copy.json['id']}" != job
        assert copy.json["copy_of"] == original["id"]
        assert copy.json["tags"] == ["a"]
        assert copy.json["payload"] == original["payload"]
    assert [copy.json["queue"] for copy in copies] == ["default", "bulk"]
    assert original["copy_of"] is None
    entry = client.get("/audit").json[0]
    assert entry["details"] == {
        "kind": "send_email",
        "copy": copies[1].json["id"],
        "changes": {"queue": {"old": "default", "new": "bulk"}},
    }


def test_deletes_a_job_that_has_ended(client: FlaskClient, job: str) -> None:
    live = client.delete(job)
    client.post(f"{job}/cancel")
    before = client.get(job).json

    gone = client.delete(job)

    assert (live.status_code, live.json["error"]) == (409, "conflict")
    assert (gone.status_code, gone.data) == (204, b"")
    assert [client.get(job).status_code, client.delete(job).status_code] == [404, 404]
    entry = client.get("/audit").json[0]
    assert (entry["action"], entry["job_id"]) == ("delete", before["id"])
    kept = {name: before[name] for name in ("kind", "queue", "status", "created_at")}
    assert entry["details"] == {**kept, "status": "cancelled"}


# Queues


def test_a_key_of_some_queues_moves_no_job_elsewhere(closed: FlaskClient, make_key: MakeKey) -> None:
    _, limited = make_key(Scope.ENQUEUE, Scope.READ, Scope.OPERATE, queues=["mail", "bulk"])
    job = closed.post("/jobs", json={**EMAIL, "queue": "mail"}, headers=limited).headers["Location"]

    refused = [
        closed.patch(job, json={"queue": "other"}, headers=limited),
        closed.post(f"{job}/copy", json={"queue": "other"}, headers=limited),
    ]
    closed.post(f"{job}/cancel", headers=limited)
    refused.append(closed.post(f"{job}/retry", json={"queue": "other"}, headers=limited))
    moved = closed.post(f"{job}/retry", json={"queue": "bulk"}, headers=limited)

    assert [(answer.status_code, answer.json["error"]) for answer in refused] == [(403, "forbidden")] * 3
    assert (moved.status_code, moved.json["queue"]) == (200, "bulk")


def test_a_move_counts_against_the_bound_on_queues(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, queues_per_key=1)).test_client()
    job = client.post("/jobs", json=EMAIL).headers["Location"]

    answers = [client.patch(job, json={"queue": name}) for name in ("a", "b")]
    answers += [client.post(f"{job}/copy", json=body) for body in ({"queue": "b"}, None, {"queue": None})]

    assert [answer.status_code for answer in answers] == [200, 422, 422, 201, 201]
    assert set(answers[1].json["details"]) == {"queue"}


def test_reads_a_job_again_that_changes_meanwhile(
    client: FlaskClient, job: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = client.get(job).json["id"]
    others = iter([{**EMAIL["payload"], "subject": str(n)} for n in range(2)])

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        for payload in others:
            change(conn, job_id, Changes.of(payload=payload))
            break
        return change(*args, **kwargs)

    monkeypatch.setattr("app.api.jobs.jobs.change", meanwhile)
    answer = client.patch(job, json={"payload": {**EMAIL["payload"], "subject": "last"}})

    assert (answer.status_code, answer.json["payload"]["subject"]) == (200, "last")
    payloads = [entry["details"]["changes"]["payload"] for entry in client.get("/audit").json]
    assert payloads[0]["old"]["subject"] == "1"


def test_changes_all_but_the_payload_of_an_unknown_kind(client: FlaskClient, sql: Sql) -> None:
    [[job_id]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('unknown', '{}') RETURNING id::text")

    answers = [
        client.patch(f"/jobs/{job_id}", json={"payload": {"n": 1}}),
        client.patch(f"/jobs/{job_id}", json={"priority": 1}),
        client.post(f"/jobs/{job_id}/copy"),
    ]

    assert [answer.status_code for answer in answers] == [422, 200, 201]
    assert set(answers[0].json["details"]) == {"payload"}
