"""Who may call what without a key: on every route, on the machine itself, under auth=off, and for metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import keyring
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from tests.http.api_calls import CALLS, PAGES, example_of
from tests.http.callers import SECRET, MakeApp, MakeKey, bearer

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "FROBNICATE"]
READS = ["GET", "HEAD", "OPTIONS"]
OPEN = ["/health", "/health/live", "/docs", "/docs/docs.js", "/docs/assets/swagger-ui.css", "/api-docs/openapi.json"]


# Without a key


def test_off_loopback_without_a_key_every_route_answers_401_on_every_method(closed: FlaskClient) -> None:
    paths = {example_of(call)[1] for call in (*CALLS, *PAGES)} | {"/nowhere", "/jobs/nonsense", "/jobs/", "*"}
    shut = (paths | {"/docs/../jobs"}) - {*OPEN, "/docs/assets/<path:name>"}
    assert len(shut) > 40

    answers = {(method, path): closed.open(path, method=method) for path in shut for method in METHODS}

    assert {call: answer.status_code for call, answer in answers.items()} == dict.fromkeys(answers, 401)
    for (method, _), answer in answers.items():
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="haulier"'
        if method != "HEAD":
            assert answer.json["error"] == "unauthorized"
            assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_what_is_named_stays_readable_without_a_key(closed: FlaskClient) -> None:
    answers = {(method, path): closed.open(path, method=method, buffered=True) for path in OPEN for method in READS}

    assert {call: answer.status_code for call, answer in answers.items()} == dict.fromkeys(answers, 200)


def test_another_method_on_a_public_path_is_401(closed: FlaskClient, make_key: MakeKey) -> None:
    _, shown = make_key(Scope.READ)

    answers = [closed.post("/health"), closed.delete("/jobs"), closed.delete("/jobs", headers=shown)]

    assert [answer.status_code for answer in answers] == [401, 401, 405]
    assert "POST" in answers[2].headers["Allow"]


def test_with_docs_public_0_the_documentation_needs_a_key_too(
    make_app: MakeApp, public: Config, make_key: MakeKey
) -> None:
    client = make_app(replace(public, docs_public="0")).test_client()
    _, shown = make_key(Scope.ENQUEUE)

    without = {path: client.get(path, buffered=True).status_code for path in OPEN}
    shown_one = {path: client.get(path, headers=shown, buffered=True).status_code for path in OPEN}

    assert without == {path: 200 if path.startswith("/health") else 401 for path in OPEN}
    assert shown_one == dict.fromkeys(OPEN, 200)


def test_a_route_that_states_nothing_needs_admin(make_app: MakeApp, public: Config, make_key: MakeKey) -> None:
    app = make_app(public)
    app.add_url_rule("/secret-plans", "plans", lambda: "plans")
    (_, read), (_, admin) = make_key(Scope.READ, Scope.ENQUEUE, Scope.OPERATE), make_key(Scope.ADMIN)

    answers = [app.test_client().get("/secret-plans", headers=headers) for headers in ({}, read, admin)]

    assert [answer.status_code for answer in answers] == [401, 403, 200]


# The machine itself


def test_on_loopback_it_is_open_until_there_is_a_key(
    client: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    before = client.get("/jobs").status_code

    _, shown = make_key()
    after = [client.get("/jobs", headers=headers).status_code for headers in ({}, shown)]

    assert before == 200
    assert after == [401, 200]


def test_a_revoked_key_does_not_open_it_again(
    client: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    key, _ = make_key()
    api_keys.revoke(conn, key.id, actor="test")

    assert client.get("/jobs").status_code == 401


def test_the_first_key_is_needed_on_loopback_too(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, haulier_api_key=SECRET)).test_client()

    answers = [client.get("/jobs", headers=headers).status_code for headers in ({}, bearer(SECRET))]

    assert answers == [401, 200]


def test_auth_off_asks_for_no_key(make_app: MakeApp, public: Config, make_key: MakeKey) -> None:
    make_key()
    client = make_app(replace(public, auth="off", haulier_api_key=SECRET)).test_client()

    answers = [
        client.get("/jobs"),
        client.get("/jobs", headers={"Host": "evil.example", "X-Forwarded-For": "192.0.2.1"}),
        client.get("/metrics"),
    ]

    assert [answer.status_code for answer in answers] == [200] * 3


# Metrics


def test_with_metrics_token_the_metrics_ask_for_it_or_a_key(
    make_app: MakeApp, config: Config, make_key: MakeKey
) -> None:
    _, reader = make_key(Scope.READ)
    headers: list[dict[str, str]] = [{}, bearer("scrape-me"), bearer("scrape-me-gently"), reader]

    for settings in ({}, {"auth": "off"}, {"host": "0.0.0.0"}):
        client = make_app(replace(config, metrics_token="scrape-me-gently", **settings)).test_client()
        answers = [client.get("/metrics", headers=each).status_code for each in headers]

        assert answers == [401, 401, 200, 200], settings


def test_the_metrics_token_opens_nothing_else(make_app: MakeApp, public: Config) -> None:
    client = make_app(replace(public, metrics_token="scrape-me-gently")).test_client()

    answers = [client.get(path, headers=bearer("scrape-me-gently")).status_code for path in ("/jobs", "/kinds")]

    assert answers == [401, 401]
