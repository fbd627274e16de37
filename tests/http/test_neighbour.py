"""Who is on the machine itself: by the host, the origin, the peer, and what only a proxy would add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from haulier.config import Config
from haulier.domain.neighbour import PROXY_PREFIXES
from tests.http.callers import SECRET, MakeApp, MakeKey, bearer
from tests.web import EMAIL

HOSTS = {
    "localhost": 200,
    "localhost:8080": 200,
    "LOCALHOST:1": 200,
    "127.0.0.1": 200,
    "127.0.0.1:8080": 200,
    "[::1]": 200,
    "[::1]:8080": 200,
    "evil.example": 403,
    "evil.example:8080": 403,
    "localhost.evil.example": 403,
    "127.0.0.1.nip.io": 403,
    "localhost:8080@evil.example": 403,
    "localhost:": 403,
    "localhost:999999": 403,
    "127.0.0.2:8080": 403,
    "0.0.0.0:8080": 403,
    "[::]:8080": 403,
    "": 403,
}


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
def test_without_keys_the_host_must_be_local(client: FlaskClient, host: str, status: int) -> None:
    answer = client.get("/jobs", headers={"Host": host})

    assert answer.status_code == status


def test_the_address_that_it_was_told_to_listen_on_is_local_too(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, host="127.0.0.2")).test_client()

    assert client.get("/jobs", headers={"Host": "127.0.0.2:8080"}).status_code == 200


ORIGINS = {
    "http://localhost:8080": 201,
    "HTTP://LOCALHOST:8080": 201,
    "https://localhost:8080": 201,
    "http://localhost:3000": 403,
    "http://127.0.0.1:8080": 403,
    "http://evil.example": 403,
    "null": 403,
    "": 403,
    "http://localhost:8080.evil.example": 403,
}


@pytest.mark.parametrize(("origin", "status"), ORIGINS.items())
def test_without_keys_a_foreign_origin_is_refused(
    client: FlaskClient, origin: str, status: int, count_jobs: Callable[[], int]
) -> None:
    answer = client.post("/jobs", json=EMAIL, headers={"Host": "localhost:8080", "Origin": origin})

    assert answer.status_code == status
    assert count_jobs() == (1 if status == 201 else 0)


def test_with_keys_neither_host_nor_origin_matters(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, haulier_api_key=SECRET)).test_client()
    headers = {"Host": "jobs.example.com", "Origin": "https://app.example.com", **bearer(SECRET)}

    assert client.post("/jobs", json=EMAIL, headers=headers).status_code == 201


@pytest.mark.parametrize("name", [f"{prefix.rstrip('-')}-Any" for prefix in PROXY_PREFIXES])
def test_a_forwarded_request_is_not_from_the_machine_and_is_told_what_to_do(client: FlaskClient, name: str) -> None:
    answer = client.get("/jobs", headers={name: "127.0.0.1"})

    assert answer.status_code == 401
    assert "python -m haulier keys create" in answer.json["message"]
    assert name.lower() in answer.json["message"].lower()


# What programs of the machine itself send.
OWN_HEADERS = [
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
    "Baggage",
    "X-B3-TraceId",
    "Sentry-Trace",
    "User-Agent",
    "DNT",
]
OWN_HEADERS += [
    "Idempotency-Key",
    "Sec-Fetch-Site",
    "Upgrade-Insecure-Requests",
    "Priority",
    "X-Requested-With",
    "Pragma",
]
OWN_HEADERS += [
    "X-Datadog-Trace-Id",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "Postman-Token",
    "Cache-Control",
    "X-Client-Name",
]


@pytest.mark.parametrize("name", OWN_HEADERS)
def test_a_program_of_the_machine_may_send_what_it_likes(client: FlaskClient, name: str) -> None:
    assert client.get("/jobs", headers={name: "1"}).status_code == 200


def test_a_request_as_nginx_sends_it_is_not_from_the_machine(client: FlaskClient, make_key: MakeKey) -> None:
    as_nginx: Any = {"headers": {"Host": "127.0.0.1:8080"}, "environ_overrides": {"SERVER_PROTOCOL": "HTTP/1.0"}}

    answer, health = client.get("/jobs", **as_nginx), client.get("/health", **as_nginx)

    assert (answer.status_code, health.status_code) == (401, 200)
    assert "HTTP/1.0" in answer.json["message"]
    assert "python -m haulier keys create" in answer.json["message"]


def test_with_a_key_a_forwarded_request_is_answered(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, haulier_api_key=SECRET)).test_client()
    brought = {"X-Forwarded-For": "192.0.2.7", "Host": "jobs.example.com", **bearer(SECRET)}

    answer = client.get("/jobs", headers=brought, environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8080"}, 201),
        ({"Host": "localhost:8080", "X-Forwarded-For": "192.0.2.7"}, 201),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:8080", "Origin": "null"}, 403),
    ],
)
def test_auth_off_on_loopback_is_open_to_programs_and_not_to_pages(
    make_app: MakeApp, config: Config, headers: dict[str, str], status: int, count_jobs: Callable[[], int]
) -> None:
    client = make_app(replace(config, auth="off")).test_client()

    answer = client.post("/jobs", json=EMAIL, headers=headers)

    assert answer.status_code == status
    assert count_jobs() == (1 if status == 201 else 0)


PEERS = {
    "127.0.0.1": 200,
    "127.9.9.9": 200,
    "::1": 200,
    "192.0.2.7": 401,
    "10.0.0.1": 401,
    "2001:db8::1": 401,
    "::ffff:192.0.2.7": 401,
    "": 401,
    "localhost": 401,
}


@pytest.mark.parametrize(("peer", "status"), PEERS.items())
def test_a_request_from_another_machine_is_not_from_this_one_wherever_it_listens(
    client: FlaskClient, peer: str, status: int
) -> None:
    # As under `gunicorn --bind 0.0.0.0:80`, of which the settings know nothing.
    answer = client.get("/jobs", headers={"Host": "localhost"}, environ_overrides={"REMOTE_ADDR": peer})

    assert answer.status_code == status
