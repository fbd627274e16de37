"""What a key may do, in which queues, under idempotency keys of its own, and that it is noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import keyring
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue.access import api_keys
from tests import queueing
from tests.http.api_calls import CALLS, example_of
from tests.http.callers import JOB, SECRET, MakeApp, MakeKey, bearer
from tests.web import EMAIL

# What a key may do


def test_a_key_does_what_its_scopes_allow_and_else_is_403(closed: FlaskClient, make_key: MakeKey) -> None:
    for scope in Scope:
        _, shown = make_key(scope)
        for name, call in CALLS.items():
            method, path = example_of(name)
            answer = closed.open(path, method=method, headers=shown)

            lacking = [] if scope is Scope.ADMIN else [each for each in call.scopes if each is not scope]
            assert (answer.status_code == 403) == bool(lacking), (scope, name, answer.text)
            if lacking:
                assert answer.json["error"] == "forbidden"
                assert answer.json["message"] == f"this API key lacks the scope {lacking[0]}"
                assert f'error="insufficient_scope", scope="{lacking[0]}"' in answer.headers["WWW-Authenticate"]


def test_a_queue_that_is_not_the_keys_is_closed_to_it(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.ENQUEUE, Scope.READ, Scope.OPERATE, queues=["mail", "bulk"])
    elsewhere = closed.post("/jobs", json=EMAIL, headers=anyone).headers["Location"]
    own = closed.post("/jobs", json={**EMAIL, "queue": "mail"}, headers=limited)

    refused = [
        closed.post("/jobs", json=EMAIL, headers=limited),
        closed.post("/jobs", json={**EMAIL, "queue": "other"}, headers=limited),
        closed.post("/jobs/batch", json=[{**EMAIL, "queue": "mail"}, EMAIL], headers=limited),
        closed.get("/metrics", headers=limited),
        closed.get("/database", headers=limited),
        closed.get("/audit", headers=limited),
    ]
    one_by_one = closed.post("/jobs/batch?atomic=false", json=[{**EMAIL, "queue": "bulk"}, EMAIL], headers=limited)
    hidden = [
        closed.get(elsewhere, headers=limited),
        closed.get(f"{elsewhere}/explain", headers=limited),
        closed.get(f"{elsewhere}/timeline", headers=limited),
        *(closed.post(f"{elsewhere}/{verb}", headers=limited) for verb in ("cancel", "retry", "copy")),
        closed.patch(elsewhere, json={"priority": 1}, headers=limited),
    ]
    seen = {query: closed.get(f"/jobs{query}", headers=limited).json for query in ("", "?queue=mail", "?queue=default")}

    assert own.status_code == 201
    assert [(answer.status_code, answer.json["error"]) for answer in refused] == [(403, "forbidden")] * 6
    assert refused[0].json["message"] == "this API key may not use the queue default"
    assert [item["status"] for item in one_by_one.json["items"]] == [201, 403]
    assert [answer.status_code for answer in hidden] == [404] * 7
    assert hidden[0].json["message"] == f"job {elsewhere.split('/')[2]} not found"
    assert {query: [job["queue"] for job in jobs] for query, jobs in seen.items()} == {
        "": ["bulk", "mail"],
        "?queue=mail": ["mail"],
        "?queue=default": [],
    }
    assert [closed.get(own.headers["Location"], headers=limited).status_code] == [200]
    assert closed.get(elsewhere, headers=anyone).json["status"] == "queued"


def test_pages_of_a_keys_own_queues_lead_to_the_end(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.READ, queues=["mail"])
    for number in range(6):
        closed.post("/jobs", json={**EMAIL, "queue": "mail" if number % 2 else "other"}, headers=anyone)

    first = closed.get("/jobs?limit=2", headers=limited)
    second = closed.get(f"/jobs?limit=2&cursor={first.headers['Next-Cursor']}", headers=limited)

    assert [len(first.json), len(second.json)] == [2, 1]
    assert "Next-Cursor" not in second.headers
    assert [closed.get("/jobs/count", headers=headers).json["count"] for headers in (anyone, limited)] == [6, 3]


# Idempotency


def test_each_key_has_idempotency_keys_of_its_own(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, ann), (_, bob) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}

    first, again = (closed.post("/jobs", json=EMAIL, headers={**ann, **named}) for _ in range(2))
    other = closed.post("/jobs", json=EMAIL, headers={**bob, **named})
    items = [{**EMAIL, "idempotency_key": "order-7"}]
    batches = [closed.post("/jobs/batch", json=items, headers=headers).json["jobs"][0] for headers in (ann, bob)]

    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 201]
    assert again.json["id"] == first.json["id"] != other.json["id"]
    assert batches == [
        {"index": 0, "id": first.json["id"], "replayed": True},
        {"index": 0, "id": other.json["id"], "replayed": True},
    ]
    assert {answer.json["idempotency_key"] for answer in (first, other)} == {"order-7"}


def test_a_key_that_may_only_enqueue_reads_only_its_own_replays(
    closed: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    (_, ann), (_, bob) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}
    first = closed.post("/jobs", json=EMAIL, headers={**ann, **named})
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    claims.settle(conn, [Settlement(Fence.of(job), Outcome.complete("swordfish"))])

    again = closed.post("/jobs", json=EMAIL, headers={**ann, **named})
    # Without all three of them, API key, idempotency key and request, the answer shows nothing, not even an id.
    others = [
        closed.post("/jobs", json={**EMAIL, "priority": 1}, headers={**ann, **named}),
        closed.post("/jobs", json=EMAIL, headers={**ann, "Idempotency-Key": "order-8"}),
        closed.post("/jobs", json=EMAIL, headers={**bob, **named}),
        closed.get(f"/jobs/{first.json['id']}", headers=ann),
        closed.get("/jobs", headers=ann),
    ]

    assert (again.status_code, again.json["status"], again.json["result"]) == (200, "succeeded", "swordfish")
    assert [answer.status_code for answer in others] == [422, 201, 201, 403, 403]
    assert not [answer.text for answer in others if "swordfish" in answer.text or first.json["id"] in answer.text]


def test_a_keys_idempotency_keys_outlive_its_rotation(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    key, old = make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}
    first = closed.post("/jobs", json=EMAIL, headers={**old, **named})

    new = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="test"))
    again = closed.post("/jobs", json=EMAIL, headers={**new, **named})

    assert (first.status_code, again.status_code) == (201, 200)


def test_callers_without_a_key_go_on_with_theirs(
    make_app: MakeApp, config: Config, closed: FlaskClient, make_key: MakeKey
) -> None:
    neighbour = make_app(replace(config, auth="off")).test_client()
    named = {"Idempotency-Key": "order-7"}
    first = neighbour.post("/jobs", json=EMAIL, headers=named)

    _, shown = make_key(Scope.ENQUEUE)
    keyed = closed.post("/jobs", json=EMAIL, headers={**shown, **named})
    again = neighbour.post("/jobs", json=EMAIL, headers=named)

    assert [first.status_code, keyed.status_code, again.status_code] == [201, 201, 200]


# The record


def test_what_a_key_does_to_jobs_is_noted(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    key, shown = make_key()
    job = closed.post("/jobs", json=EMAIL, headers=shown).headers["Location"]

    for verb in ("cancel", "cancel", "retry"):
        closed.post(f"{job}/{verb}", headers=shown)

    with conn.cursor() as cursor:
        cursor.execute("SELECT actor, action, job_id::text FROM haulier.audit WHERE job_id IS NOT NULL ORDER BY id")
        assert cursor.fetchall() == [(key.id, "cancel", job.split("/")[2]), (key.id, "retry", job.split("/")[2])]


def test_the_record_names_the_first_key_env_and_no_key_null(
    make_app: MakeApp, public: Config, conn: Connection
) -> None:
    by_the_first_key = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    by_anyone = make_app(replace(public, auth="off")).test_client()
    job = by_anyone.post("/jobs", json=EMAIL).headers["Location"]

    answers = [
        by_the_first_key.post(f"{job}/cancel", headers=bearer(SECRET)),
        by_anyone.post(f"{job}/retry"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    with conn.cursor() as cursor:
        cursor.execute("SELECT actor, action FROM haulier.audit ORDER BY id")
        assert cursor.fetchall() == [("env", "cancel"), (None, "retry")]


def test_what_was_refused_is_not_noted(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    (_, shown), (_, reader), (_, elsewhere) = make_key(), make_key(Scope.READ), make_key(queues=["mail"])
    job = closed.post("/jobs", json=EMAIL, headers=shown).headers["Location"]

    answers = [
        closed.post(f"{job}/retry", headers=shown),
        closed.post(f"{JOB}/cancel", headers=shown),
        closed.post(f"{job}/cancel", headers=reader),
        closed.post(f"{job}/cancel", headers=elsewhere),
        closed.post(f"{job}/cancel"),
    ]

    assert [answer.status_code for answer in answers] == [409, 404, 403, 404, 401]
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.audit WHERE job_id IS NOT NULL")
        assert cursor.fetchall() == [(0,)]
