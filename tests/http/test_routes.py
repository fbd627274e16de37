"""What routes say of themselves; what a key may do, in which queues, under idempotency keys of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from flask import Blueprint, Flask, Response, request
from flask.testing import FlaskClient
from flask.views import MethodView
from psycopg2.extensions import connection as Connection

from app.api import build, register
from app.api.reading import body
from app.http import application
from app.http.application import App
from app.http.routes import (
    BODY_BYTES,
    NO_ROUTE,
    ROUTE,
    UNSAID,
    Entry,
    Route,
    Routes,
    longer_bodies,
    needs,
    routes_of,
    said_by,
)
from app.http.service import Service
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue.access import api_keys
from tests import queueing
from tests.http.api_calls import CALLS, PAGES, documented, example_of
from tests.http.callers import JOB, SECRET, MakeApp, MakeKey, bearer
from tests.web import EMAIL

ENV_KEY = "k" * 32
SHOWN = {"Authorization": f"Bearer {ENV_KEY}"}
FOUND = 4


def unsaid(app: Flask) -> list[tuple[str, str]]:
    """Return each call whose view does not say who may make it; HEAD and OPTIONS are not views of ours."""
    return [
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if said_by(app, rule, method) is None
    ]


def test_every_route_states_what_is_promised_of_it() -> None:
    app = build(Config("postgres://db.example.com/haulier"))
    routes = {documented(*at): route for at, route in routes_of(app).items() if at[0] not in ("HEAD", "OPTIONS")}

    assert unsaid(app) == []
    assert {name: (route.needs, route.also, bool(route.every_queue)) for name, route in routes.items()} == {
        **{name: (call.needs, call.also, call.every_queue) for name, call in CALLS.items()},
        **{name: (entry, None, False) for name, entry in PAGES.items()},
    }
    quiet = {name for name, route in routes.items() if route.is_quiet}
    assert quiet == {"GET /health", "GET /health/live", "GET /metrics"}
    assert [name for name, route in routes.items() if route.takes_metrics_token] == ["GET /metrics"]
    assert longer_bodies(routes_of(app)) == {("POST", "/jobs/batch"): 16 * BODY_BYTES}


class Ours(MethodView):
    @needs(Scope.OPERATE, most_bytes=FOUND, quiet=True)
    def post(self, number: int) -> Response:
        return Response(body())

    @needs(Entry.ANYONE)
    def get(self, number: int) -> str:
        return str(number)

    def put(self, number: int) -> str:
        """Say nothing of itself."""
        return str(number)


blp = Blueprint("ours", __name__)
blp.add_url_rule("/ours/<int:number>", view_func=Ours.as_view("ours"))


@pytest.fixture
def ours() -> Iterator[FlaskClient]:
    def add(app: App, _: Service) -> None:
        app.register_blueprint(blp)

    config = Config("postgres://nobody@127.0.0.1:1/none", haulier_api_key=ENV_KEY)
    app = application.make(config, register, add)
    yield app.test_client()
    app.extensions["haulier"].database.close()


def test_a_route_goes_by_what_its_view_says_and_else_needs_admin(ours: FlaskClient) -> None:
    routes = routes_of(ours.application)

    assert unsaid(ours.application) == [("PUT", "/ours/<int:number>")]
    assert routes["PUT", "/ours/<int:number>"] is UNSAID
    assert UNSAID.needs is Scope.ADMIN

    assert routes["HEAD", "/ours/<int:number>"] is routes["GET", "/ours/<int:number>"]
    assert routes["OPTIONS", "/jobs"].needs is Entry.ANY_KEY
    assert routes["OPTIONS", "/jobs/batch"].most_bytes == BODY_BYTES
    assert routes["OPTIONS", "/health"].needs is Entry.ANYONE
    assert routes["OPTIONS", "/metrics"].every_queue is None


def test_a_request_is_answered_by_what_its_route_says(ours: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    posts: list[tuple[int, dict[str, str]]] = [(FOUND, {}), (FOUND, SHOWN), (FOUND + 1, SHOWN)]
    answers = [ours.get("/ours/1"), ours.put("/ours/1", headers=SHOWN)]
    answers += [ours.post("/ours/1", data=b"x" * size, headers=headers) for size, headers in posts]

    assert [answer.status_code for answer in answers] == [200, 200, 401, 200, 413]
    written = [record.getMessage()[:17] for record in caplog.records if record.name == "app.http.request_log"]
    assert written == ["GET /ours/1 200 i", "PUT /ours/1 200 i", "POST /ours/1 401 ", "POST /ours/1 413 "]


def test_a_path_that_there_is_not_takes_a_key(ours: FlaskClient) -> None:
    found: list[Route] = []
    ours.application.before_request_funcs[None].append(lambda: found.append(request.environ[ROUTE]))

    answers = [ours.get("/nothing"), ours.get("/nothing", headers=SHOWN), ours.delete("/health", headers=SHOWN)]

    assert [answer.status_code for answer in answers] == [401, 404, 405]
    assert found == [NO_ROUTE, NO_ROUTE]


def test_only_a_path_without_variables_may_take_longer_bodies() -> None:
    routes: Routes = {("POST", "/jobs/<uuid:job_id>"): Route(Scope.ENQUEUE, BODY_BYTES + 1)}

    with pytest.raises(ValueError, match="/jobs/<uuid:job_id>"):
        longer_bodies(routes)


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
