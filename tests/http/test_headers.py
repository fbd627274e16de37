"""The headers that every answer has for a browser's sake, and those that none has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from haulier.config import Config
from tests.http.callers import JOB
from tests.web import EMAIL, Server

CALLS: list[tuple[str, str, Any]] = [
    *(("GET", path, None) for path in ("/", "/docs", "/docs/docs.js", "/docs/assets/swagger-ui.css", "/nowhere")),
    *(("GET", path, None) for path in ("/docs/assets/none", "/api-docs/openapi.json", "/jobs", JOB, "/kinds")),
    *(("GET", path, None) for path in ("/health", "/health/live", "/metrics")),
    *(("HEAD", "/docs", None), ("OPTIONS", "/jobs", None), ("DELETE", "/jobs", None), ("POST", f"{JOB}/cancel", None)),
    *(("POST", "/jobs", EMAIL), ("POST", "/jobs", {}), ("POST", "/jobs/batch", [EMAIL])),
]


def headers_of(client: FlaskClient, method: str, path: str, body: Any = None, **sent: str) -> Headers:
    # Closed here: some of them are files.
    with client.open(path, method=method, json=body, headers=sent) as answer:
        return answer.headers


def cors_in(headers: Headers) -> list[str]:
    return [name for name, _ in headers if name.lower().startswith("access-control-")]


def directives(policy: str) -> dict[str, str]:
    return {name: sources for name, _, sources in (part.strip().partition(" ") for part in policy.split(";"))}


def test_every_answer_forbids_browsers_to_guess_its_type_or_to_frame_it(client: FlaskClient) -> None:
    fixed = {
        "X-Content-Type-Options": ["nosniff"],
        "Referrer-Policy": ["no-referrer"],
        "X-Frame-Options": ["DENY"],
        "Cross-Origin-Resource-Policy": ["same-origin"],
    }
    for call in CALLS:
        headers = headers_of(client, *call)

        assert {name: headers.getlist(name) for name in fixed} == fixed, call
        [policy] = headers.getlist("Content-Security-Policy")
        rules = directives(policy)
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert ("unsafe" in policy, "*" in policy) == (False, False), call


def test_a_page_loads_from_the_service_only_and_other_answers_nothing(client: FlaskClient) -> None:
    headers = client.get("/docs").headers

    rules = directives(headers["Content-Security-Policy"])
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "camera=()" in headers["Permissions-Policy"]
    assert set(directives(client.get("/jobs").headers["Content-Security-Policy"]).values()) == {"'none'"}


def test_no_other_site_may_read_an_answer(make_app: Callable[..., Flask], config: Config) -> None:
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        "Access-Control-Request-Private-Network": "true",
    }
    preflights = [("OPTIONS", path, None) for path in ("/jobs", "/jobs/batch", f"{JOB}/cancel", "/docs", "/metrics")]

    for auth in ("", "off"):
        client = make_app(Config(database_url=config.database_url, auth=auth)).test_client()
        for origin in ("http://evil.example", "null", "http://localhost:3000", "https://localhost"):
            permitted = {call[:2]: cors_in(headers_of(client, *call, Origin=origin)) for call in CALLS}

            assert {call: headers for call, headers in permitted.items() if headers} == {}
        assert [call for call in preflights if cors_in(headers_of(client, *call, **asked))] == []


def test_no_answer_names_a_version(server: Server) -> None:
    for path in ("/jobs", "/docs", "/nowhere", "/health"):
        headers = requests.get(server.url + path).headers

        assert headers.get("Server", "") in ("", "gunicorn")
        assert not {"X-Powered-By", "Via"} & set(headers)
