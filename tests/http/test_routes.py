"""What routes say of themselves: each says it, and whatever goes by the route goes by that."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask, Response, request
from flask.testing import FlaskClient
from flask.views import MethodView

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


def test_every_route_of_the_application_says_its_scope() -> None:
    app = build(Config("postgres://db.example.com/haulier"))

    assert len(list(app.url_map.iter_rules())) >= 13
    assert unsaid(app) == []


def test_the_routes_of_the_application_say_what_is_promised() -> None:
    routes = routes_of(build(Config("postgres://db.example.com/haulier")))

    calls = {at: route for at, route in routes.items() if at[0] not in ("HEAD", "OPTIONS")}
    assert {at: route.needs for at, route in calls.items()} == {
        ("GET", "/"): Entry.ANY_KEY,
        ("GET", "/kinds"): Entry.ANY_KEY,
        ("POST", "/jobs"): Scope.ENQUEUE,
        ("POST", "/jobs/batch"): Scope.ENQUEUE,
        ("GET", "/jobs"): Scope.READ,
        ("GET", "/jobs/<uuid:job_id>"): Scope.READ,
        ("GET", "/jobs/<uuid:job_id>/explain"): Scope.READ,
        ("GET", "/jobs/<uuid:job_id>/timeline"): Scope.READ,
        ("GET", "/metrics"): Scope.READ,
        ("GET", "/jobs/count"): Scope.READ,
        ("GET", "/stats"): Scope.READ,
        ("GET", "/queues"): Scope.READ,
        ("GET", "/queues/<name>"): Scope.READ,
        ("POST", "/queues/<name>/pause"): Scope.OPERATE,
        ("POST", "/queues/<name>/resume"): Scope.OPERATE,
        ("GET", "/schedules"): Scope.READ,
        ("POST", "/schedules/preview"): Scope.READ,
        ("GET", "/schedules/<name>"): Scope.READ,
        ("PUT", "/schedules/<name>"): Scope.ADMIN,
        ("DELETE", "/schedules/<name>"): Scope.ADMIN,
        ("POST", "/schedules/<name>/run"): Scope.OPERATE,
        ("POST", "/schedules/<name>/pause"): Scope.OPERATE,
        ("POST", "/schedules/<name>/resume"): Scope.OPERATE,
        ("GET", "/schedules/<name>/explain"): Scope.READ,
        ("GET", "/schedules/<name>/ticks"): Scope.READ,
        ("GET", "/database"): Scope.OPERATE,
        ("GET", "/audit"): Scope.OPERATE,
        ("PATCH", "/jobs/<uuid:job_id>"): Scope.OPERATE,
        ("DELETE", "/jobs/<uuid:job_id>"): Scope.ADMIN,
        ("POST", "/jobs/<uuid:job_id>/copy"): Scope.OPERATE,
        ("GET", "/keys"): Scope.ADMIN,
        ("POST", "/keys"): Scope.ADMIN,
        ("POST", "/keys/<key_id>/rotate"): Scope.ADMIN,
        ("POST", "/keys/<key_id>/revoke"): Scope.ADMIN,
        ("POST", "/operations"): Scope.OPERATE,
        ("GET", "/operations"): Scope.OPERATE,
        ("GET", "/operations/<uuid:operation_id>"): Scope.OPERATE,
        ("POST", "/operations/<uuid:operation_id>/cancel"): Scope.OPERATE,
        ("POST", "/operations/<uuid:operation_id>/resume"): Scope.OPERATE,
        ("POST", "/operations/<uuid:operation_id>/advance"): Scope.OPERATE,
        ("GET", "/workers"): Scope.READ,
        ("GET", "/workers/<uuid:worker_id>"): Scope.READ,
        ("PATCH", "/workers/<uuid:worker_id>"): Scope.OPERATE,
        ("GET", "/errors"): Scope.READ,
        ("GET", "/errors/<error_id>"): Scope.READ,
        ("PATCH", "/errors/<error_id>"): Scope.OPERATE,
        ("POST", "/jobs/<uuid:job_id>/cancel"): Scope.OPERATE,
        ("POST", "/jobs/<uuid:job_id>/retry"): Scope.OPERATE,
        ("GET", "/health"): Entry.ANYONE,
        ("GET", "/health/live"): Entry.ANYONE,
        ("GET", "/docs"): Entry.READERS,
        ("GET", "/docs/docs.js"): Entry.READERS,
        ("GET", "/docs/assets/<path:name>"): Entry.READERS,
        ("GET", "/api-docs/openapi.json"): Entry.READERS,
    }
    assert {at for at, route in calls.items() if route.is_quiet} == {
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/metrics"),
    }
    assert {at for at, route in calls.items() if route.takes_metrics_token} == {("GET", "/metrics")}
    assert {at for at, route in calls.items() if route.every_queue} == {
        ("GET", "/metrics"),
        ("GET", "/database"),
        ("GET", "/audit"),
        ("PATCH", "/errors/<error_id>"),
        ("PATCH", "/workers/<uuid:worker_id>"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("POST", "/keys/<key_id>/rotate"),
        ("POST", "/keys/<key_id>/revoke"),
        ("PUT", "/schedules/<name>"),
        ("DELETE", "/schedules/<name>"),
    }
    assert {at: route.also for at, route in calls.items() if route.also} == {
        ("POST", "/jobs/<uuid:job_id>/copy"): Scope.ENQUEUE
    }
    assert longer_bodies(routes) == {("POST", "/jobs/batch"): 16 * BODY_BYTES}


class Ours(MethodView):
    """Views of a test's own."""

    @needs(Scope.OPERATE, most_bytes=FOUND, quiet=True)
    def post(self, number: int) -> Response:
        """Return the body."""
        return Response(body(request))

    @needs(Entry.ANYONE)
    def get(self, number: int) -> str:
        """Return the number."""
        return str(number)

    def put(self, number: int) -> str:
        """Say nothing of itself."""
        return str(number)


blp = Blueprint("ours", __name__)
blp.add_url_rule("/ours/<int:number>", view_func=Ours.as_view("ours"))


@pytest.fixture
def ours() -> Iterator[FlaskClient]:
    """Give a client of an application with those views, and one key that may do everything."""

    def add(app: App, _: Service) -> None:
        app.register_blueprint(blp)

    config = Config("postgres://nobody@127.0.0.1:1/none", haulier_api_key=ENV_KEY)
    app = application.make(config, register, add)
    yield app.test_client()
    app.extensions["haulier"].database.close()


def test_one_that_says_nothing_is_found_and_takes_all_that_a_key_may(ours: FlaskClient) -> None:
    [rule] = [each for each in ours.application.url_map.iter_rules() if each.rule.startswith("/ours")]

    assert unsaid(ours.application) == [("PUT", rule.rule)]
    assert routes_of(ours.application)["PUT", rule.rule] is UNSAID
    assert UNSAID.needs is Scope.ADMIN


def test_head_goes_by_what_get_says_and_options_by_no_scope(ours: FlaskClient) -> None:
    routes = routes_of(ours.application)

    assert routes["HEAD", "/ours/<int:number>"] is routes["GET", "/ours/<int:number>"]
    assert routes["OPTIONS", "/jobs"].needs is Entry.ANY_KEY
    assert routes["OPTIONS", "/jobs/batch"].most_bytes == BODY_BYTES
    assert routes["OPTIONS", "/health"].needs is Entry.ANYONE
    assert routes["OPTIONS", "/metrics"].every_queue is None


def test_a_request_is_answered_by_what_its_route_says(ours: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    answers = [
        ours.get("/ours/1"),
        ours.post("/ours/1", data=b"x" * FOUND),
        ours.post("/ours/1", data=b"x" * FOUND, headers=SHOWN),
        ours.post("/ours/1", data=b"x" * (FOUND + 1), headers=SHOWN),
        ours.put("/ours/1", headers=SHOWN),
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 200, 413, 200]
    written = [record.getMessage()[:17] for record in caplog.records if record.name == "app.http.envelope"]
    assert written == ["GET /ours/1 200 i", "POST /ours/1 401 ", "POST /ours/1 413 ", "PUT /ours/1 200 i"]


def test_a_path_that_there_is_not_takes_a_key(ours: FlaskClient) -> None:
    found: list[Route] = []
    ours.application.before_request_funcs[None].append(lambda: found.append(request.environ[ROUTE]))

    answers = [ours.get("/nothing"), ours.get("/nothing", headers=SHOWN), ours.delete("/health", headers=SHOWN)]

    assert [answer.status_code for answer in answers] == [401, 404, 405]
    assert found == [NO_ROUTE, NO_ROUTE]


def test_a_longer_body_is_not_for_a_path_that_gunicorn_cannot_look_for() -> None:
    routes: Routes = {("POST", "/jobs/<uuid:job_id>"): Route(Scope.ENQUEUE, BODY_BYTES + 1)}

    with pytest.raises(ValueError, match="/jobs/<uuid:job_id>"):
        longer_bodies(routes)
