"""Who may call without a key: what is named, and callers on the machine itself by host, origin, peer and headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection
from werkzeug.test import create_environ, run_wsgi_app

from app.http import keyring
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.neighbour import PROXY_PREFIXES
from haulier.queue.access import api_keys
from tests.http.api_calls import CALLS, PAGES, example_of
from tests.http.callers import SECRET, MakeApp, MakeKey, bearer
from tests.web import EMAIL

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "FROBNICATE"]
REDIRECTS = ["/docs/", "/openapi.json", "/swagger.json"]
OPEN = ["/health", "/health/live", "/docs", "/docs/docs.js", "/docs/assets/swagger-ui.css", "/api-docs/openapi.json"]


def test_off_loopback_every_method_of_every_path_that_is_not_public_is_401(closed: FlaskClient) -> None:
    paths = {example_of(call)[1] for call in (*CALLS, *PAGES)} | {"/nowhere", "/jobs/nonsense", "/jobs/", "*"}
    shut = (paths | {"/docs/../jobs"}) - {*OPEN, *REDIRECTS, "/docs/assets/<path:name>"}
    assert len(shut) > 40

    answers = {
        (method, path): closed.open(path, method=method, buffered=True) for path in (*shut, *OPEN) for method in METHODS
    }

    readable = {(method, path) for path in OPEN for method in ("GET", "HEAD", "OPTIONS")}
    assert {call: answer.status_code for call, answer in answers.items()} == {
        call: 200 if call in readable else 401 for call in answers
    }
    for (method, _), answer in answers.items():
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="haulier"'
            if method != "HEAD":
                assert answer.json["error"] == "unauthorized"
                assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_with_docs_public_0_the_documentation_needs_a_key_too(
    make_app: MakeApp, public: Config, make_key: MakeKey
) -> None:
    client = make_app(replace(public, docs_public="0")).test_client()
    _, shown = make_key(Scope.ENQUEUE)

    without = {path: client.get(path, buffered=True).status_code for path in (*OPEN, *REDIRECTS)}
    shown_one = {path: client.get(path, headers=shown, buffered=True).status_code for path in (*OPEN, *REDIRECTS)}

    assert without == {path: 200 if path.startswith("/health") else 401 for path in (*OPEN, *REDIRECTS)}
    assert shown_one == {**dict.fromkeys(OPEN, 200), **dict.fromkeys(REDIRECTS, 302)}


def test_on_loopback_it_is_open_until_there_was_a_key(
    make_app: MakeApp, config: Config, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    client, with_first_key = (
        make_app(replace(config, haulier_api_key=secret)).test_client() for secret in (None, SECRET)
    )

    def statuses(client: FlaskClient, *shown: dict[str, str]) -> list[int]:
        return [client.get("/jobs", headers=headers).status_code for headers in shown]

    assert statuses(client, {}) == [200]
    assert statuses(with_first_key, {}, bearer(SECRET)) == [401, 200]
    key, shown = make_key()
    assert statuses(client, {}, shown) == [401, 200]
    api_keys.revoke(conn, key.id, actor="test")
    assert statuses(client, {}, shown) == [401, 401]


def test_auth_off_asks_for_no_key(make_app: MakeApp, public: Config, make_key: MakeKey) -> None:
    make_key()
    client = make_app(replace(public, auth="off", haulier_api_key=SECRET)).test_client()

    answers = [
        client.get("/jobs"),
        client.get("/jobs", headers={"Host": "evil.example", "X-Forwarded-For": "192.0.2.1"}),
        client.get("/metrics"),
    ]

    assert [answer.status_code for answer in answers] == [200] * 3


def test_with_metrics_token_the_metrics_ask_for_it_or_a_key(
    make_app: MakeApp, config: Config, make_key: MakeKey
) -> None:
    _, reader = make_key(Scope.READ)
    headers: list[dict[str, str]] = [{}, bearer("scrape-me"), bearer("scrape-me-gently"), reader]

    for settings in ({}, {"auth": "off"}, {"host": "0.0.0.0"}):
        client = make_app(replace(config, metrics_token="scrape-me-gently", **settings)).test_client()
        answers = [client.get("/metrics", headers=each).status_code for each in headers]

        assert answers == [401, 401, 200, 200], settings
    # The token opens nothing else.
    assert [client.get(path, headers=headers[2]).status_code for path in ("/jobs", "/kinds")] == [401, 401]


LOCAL_HOSTS = ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"]
FOREIGN_HOSTS = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "localhost:", ""]
FOREIGN_HOSTS += ["localhost:8080@evil.example", "localhost:999999", "127.0.0.2:8080", "0.0.0.0:8080", "[::]:8080"]
# Of pages at http://localhost:8080, with the scheme that a proxy may have changed.
OWN_ORIGINS = ["http://localhost:8080", "HTTP://LOCALHOST:8080", "https://localhost:8080"]
FOREIGN_ORIGINS = ["http://localhost:3000", "http://127.0.0.1:8080", "http://evil.example", "null", ""]
FOREIGN_ORIGINS += ["http://localhost:8080.evil.example"]
LOCAL_PEERS = ["127.0.0.1", "127.9.9.9", "::1"]
OTHER_PEERS = ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "", "localhost"]
# What programs of the machine itself send.
OWN_HEADERS = ["X-Request-Id", "Traceparent", "Tracestate", "Baggage", "X-B3-TraceId", "Sentry-Trace", "User-Agent"]
OWN_HEADERS += ["DNT", "Idempotency-Key", "Sec-Fetch-Site", "Upgrade-Insecure-Requests", "Priority", "X-Requested-With"]
OWN_HEADERS += ["Pragma", "X-Datadog-Trace-Id", "X-Prometheus-Scrape-Timeout-Seconds", "Postman-Token", "X-Client-Name"]
AS_NGINX: dict[str, Any] = {"environ_overrides": {"SERVER_PROTOCOL": "HTTP/1.0"}}


def posted(client: FlaskClient, **headers: str) -> int:
    """Return the status of a POST to localhost with these headers; names have underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/jobs", json=EMAIL, headers={"Host": "localhost:8080", **sent}).status_code


def test_answers_only_a_local_host_or_its_own_address_without_a_key(
    client: FlaskClient, make_app: MakeApp, config: Config
) -> None:
    expected = dict.fromkeys(LOCAL_HOSTS, 200) | dict.fromkeys(FOREIGN_HOSTS, 403)
    elsewhere = make_app(replace(config, host="127.0.0.2")).test_client()

    def status_for(host: str) -> int:
        # Not by a client, because that of werkzeug 3.0 reads the port of the URL.
        environ = create_environ("/jobs", headers={"Host": host}, environ_base={"REMOTE_ADDR": "127.0.0.1"})
        return int(run_wsgi_app(client.application, environ, buffered=True)[1].split()[0])

    assert {host: status_for(host) for host in expected} == expected
    assert elsewhere.get("/jobs", headers={"Host": "127.0.0.2:8080"}).status_code == 200


def test_refuses_a_foreign_origin_without_a_key(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    expected = dict.fromkeys(OWN_ORIGINS, 201) | dict.fromkeys(FOREIGN_ORIGINS, 403)

    assert {origin: posted(client, Origin=origin) for origin in expected} == expected
    assert count_jobs() == len(OWN_ORIGINS)


def test_asks_for_a_key_if_forwarded_and_says_how_to_make_one(client: FlaskClient) -> None:
    for name in (f"{prefix.rstrip('-')}-Any" for prefix in PROXY_PREFIXES):
        answer = client.get("/jobs", headers={name: "127.0.0.1"})

        assert answer.status_code == 401, name
        assert "python -m haulier keys create" in answer.json["message"]
        assert name.lower() in answer.json["message"].lower()


def test_asks_for_a_key_if_a_request_comes_as_nginx_sends_it(client: FlaskClient) -> None:
    answer, health = client.get("/jobs", **AS_NGINX), client.get("/health", **AS_NGINX)

    assert (answer.status_code, health.status_code) == (401, 200)
    assert "HTTP/1.0" in answer.json["message"]
    assert "python -m haulier keys create" in answer.json["message"]


def test_lets_a_program_of_the_machine_send_any_other_header(client: FlaskClient) -> None:
    found = {name: client.get("/jobs", headers={name: "1"}).status_code for name in OWN_HEADERS}

    assert found == dict.fromkeys(OWN_HEADERS, 200)


def test_answers_any_host_origin_and_proxy_with_a_key(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, haulier_api_key=SECRET)).test_client()
    brought = {"Host": "jobs.example.com", "Origin": "https://app.example.com", "X-Forwarded-For": "192.0.2.7"}

    answer = client.post("/jobs", json=EMAIL, headers={**brought, **bearer(SECRET)}, **AS_NGINX)

    assert answer.status_code == 201


def test_opens_to_programs_and_not_to_pages_if_auth_is_off(
    make_app: MakeApp, config: Config, count_jobs: Callable[[], int]
) -> None:
    client = make_app(replace(config, auth="off")).test_client()
    programs: list[Mapping[str, str]] = [{}, {"X_Forwarded_For": "192.0.2.7"}]
    pages: list[Mapping[str, str]] = [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]

    assert [posted(client, **headers) for headers in programs] == [201] * 2
    assert [posted(client, **headers) for headers in pages] == [403] * 3
    assert count_jobs() == 2


def test_asks_a_caller_of_another_machine_for_a_key_wherever_it_listens(client: FlaskClient) -> None:
    expected = dict.fromkeys(LOCAL_PEERS, 200) | dict.fromkeys(OTHER_PEERS, 401)

    # As under `gunicorn --bind 0.0.0.0:80`, which the settings do not show.
    found = {peer: client.get("/jobs", environ_overrides={"REMOTE_ADDR": peer}).status_code for peer in expected}

    assert found == expected
