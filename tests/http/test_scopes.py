"""What a key may do, in which queues, under idempotency keys of its own, and that it is noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

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
    assert [(answer.status_code, answer.json["error"]) for answer in refused] == [(403, "forbidden")] * 3
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


def test_each_key_has_idempotency_keys_of_its_own_whatever_its_secret(
    make_app: MakeApp, config: Config, closed: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    (key, ann), (_, bob) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}
    neighbour = make_app(replace(config, auth="off")).test_client()

    answers = [
        neighbour.post("/jobs", json=EMAIL, headers=named),
        *(closed.post("/jobs", json=EMAIL, headers={**headers, **named}) for headers in (ann, bob)),
    ]
    rotated = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(hours=1), actor="test"))
    again = [
        neighbour.post("/jobs", json=EMAIL, headers=named),
        *(closed.post("/jobs", json=EMAIL, headers={**headers, **named}) for headers in (rotated, bob)),
    ]
    items = [{**EMAIL, "idempotency_key": "order-7"}]
    batches = [closed.post("/jobs/batch", json=items, headers=headers).json["jobs"] for headers in (ann, bob)]

    assert [answer.status_code for answer in answers + again] == [201] * 3 + [200] * 3
    ids = [answer.json["id"] for answer in answers]
    assert [answer.json["id"] for answer in again] == ids
    assert len(set(ids)) == 3
    assert batches == [[{"index": 0, "id": each, "replayed": True}] for each in ids[1:]]
    assert {answer.json["idempotency_key"] for answer in answers} == {"order-7"}


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


def test_notes_who_did_what_to_a_job_and_nothing_that_was_refused(
    make_app: MakeApp, public: Config, make_key: MakeKey, conn: Connection
) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    by_anyone = make_app(replace(public, auth="off")).test_client()
    (key, shown), (_, reader), (_, elsewhere) = make_key(), make_key(Scope.READ), make_key(queues=["mail"])
    job = client.post("/jobs", json=EMAIL, headers=shown).headers["Location"]

    refused = [
        client.post(f"{job}/retry", headers=shown),
        client.post(f"{JOB}/cancel", headers=shown),
        client.post(f"{job}/cancel", headers=reader),
        client.post(f"{job}/cancel", headers=elsewhere),
        client.post(f"{job}/cancel"),
    ]
    acts = [client.post(f"{job}/{verb}", headers=shown) for verb in ("cancel", "retry")]
    acts += [client.post(f"{job}/cancel", headers=bearer(SECRET)), by_anyone.post(f"{job}/retry")]

    assert [answer.status_code for answer in refused] == [409, 404, 403, 404, 401]
    assert [answer.status_code for answer in acts] == [200] * 4
    with conn.cursor() as cursor:
        cursor.execute("SELECT actor, action, job_id::text FROM haulier.audit WHERE job_id IS NOT NULL ORDER BY id")
        noted = [(key.id, "cancel"), (key.id, "retry"), ("env", "cancel"), (None, "retry")]
        assert cursor.fetchall() == [(*each, job.split("/")[2]) for each in noted]
