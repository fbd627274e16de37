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
from tests.http.api_calls import CALLS, PAGES, documented

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
