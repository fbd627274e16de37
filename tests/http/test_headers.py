"""The headers that every answer has for a browser's sake, and those that none has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from haulier.config import Config
from tests.web import EMAIL, Server

JOB = "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/", None),
    ("GET", "/docs", None),
    ("GET", "/docs/docs.js", None),
    ("GET", "/docs/assets/swagger-ui.css", None),
    ("GET", "/docs/assets/no-such-file", None),
    ("GET", "/api-docs/openapi.json", None),
    ("GET", "/jobs", None),
    ("GET", JOB, None),
    ("GET", "/kinds", None),
    ("GET", "/health", None),
    ("GET", "/health/live", None),
    ("GET", "/metrics", None),
    ("GET", "/nowhere", None),
    ("HEAD", "/docs", None),
    ("OPTIONS", "/jobs", None),
    ("DELETE", "/jobs", None),
    ("POST", "/jobs", EMAIL),
    ("POST", "/jobs", {}),
    ("POST", "/jobs/batch", [EMAIL]),
    ("POST", f"{JOB}/cancel", None),
]
NAMES = [f"{method} {path}" for method, path, _ in CALLS]


def headers_of(client: FlaskClient, method: str, path: str, body: Any = None, **sent: str) -> Headers:
    # Closed here: some of them are files.
    with client.open(path, method=method, json=body, headers=sent) as answer:
        return answer.headers


def cors_in(headers: Headers) -> list[str]:
    return [name for name, _ in headers if name.lower().startswith("access-control-")]


def directives(policy: str) -> dict[str, str]:
    return {name: sources for name, _, sources in (part.strip().partition(" ") for part in policy.split(";"))}


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=NAMES)
def test_every_answer_is_to_be_taken_for_what_it_says_it_is_and_shown_in_no_frame(
    client: FlaskClient, method: str, path: str, body: Any
) -> None:
    headers = headers_of(client, method, path, body)

    assert headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert headers.getlist("Referrer-Policy") == ["no-referrer"]
    assert headers.getlist("X-Frame-Options") == ["DENY"]
    assert headers.getlist("Cross-Origin-Resource-Policy") == ["same-origin"]
    [policy] = headers.getlist("Content-Security-Policy")
    rules = directives(policy)
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_a_page_loads_from_the_service_alone_and_asks_for_no_device(client: FlaskClient) -> None:
    headers = client.get("/docs").headers

    rules = directives(headers["Content-Security-Policy"])
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "camera=()" in headers["Permissions-Policy"]


def test_what_is_no_page_loads_nothing_at_all(client: FlaskClient) -> None:
    rules = directives(client.get("/jobs").headers["Content-Security-Policy"])

    assert set(rules.values()) == {"'none'"}


ORIGINS = ["http://evil.example", "null", "http://localhost:3000", "https://localhost"]


@pytest.mark.parametrize("auth", ["", "off"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_no_other_site_may_read_an_answer(
    make_app: Callable[..., Flask], config: Config, auth: str, origin: str
) -> None:
    client = make_app(Config(database_url=config.database_url, auth=auth)).test_client()

    permitted = {
        f"{method} {path}": cors_in(headers_of(client, method, path, body, Origin=origin))
        for method, path, body in CALLS
    }

    assert {call: headers for call, headers in permitted.items() if headers} == {}


@pytest.mark.parametrize("auth", ["", "off"])
def test_a_preflight_permits_nothing(make_app: Callable[..., Flask], config: Config, auth: str) -> None:
    client = make_app(Config(database_url=config.database_url, auth=auth)).test_client()
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        "Access-Control-Request-Private-Network": "true",
    }

    for path in ("/jobs", "/jobs/batch", f"{JOB}/cancel", "/docs", "/metrics"):
        assert cors_in(headers_of(client, "OPTIONS", path, **asked)) == []


@pytest.mark.parametrize("path", ["/jobs", "/docs", "/nowhere", "/health"])
def test_no_answer_names_a_version(server: Server, path: str) -> None:
    headers = requests.get(server.url + path).headers

    assert headers.get("Server", "") in ("", "gunicorn")
    assert "X-Powered-By" not in headers
    assert "Via" not in headers
