"""A caller without a key is on the machine itself by its host, origin, peer, and by headers of no proxy. The API ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flask.testing import FlaskClient

from haulier.config import Config
from haulier.domain.neighbour import PROXY_PREFIXES
from tests.http.callers import SECRET, MakeApp, bearer
from tests.web import EMAIL

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


def by(values: list[str], *, status: int) -> dict[str, int]:
    return dict.fromkeys(values, status)


def posted(client: FlaskClient, **headers: str) -> int:
    """Return the status of a POST to localhost with these headers; names have underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/jobs", json=EMAIL, headers={"Host": "localhost:8080", **sent}).status_code


def test_answers_only_a_local_host_without_a_key(client: FlaskClient) -> None:
    expected = by(LOCAL_HOSTS, status=200) | by(FOREIGN_HOSTS, status=403)

    assert {host: client.get("/jobs", headers={"Host": host}).status_code for host in expected} == expected


def test_takes_the_address_on_which_it_listens_for_local(make_app: MakeApp, config: Config) -> None:
    client = make_app(replace(config, host="127.0.0.2")).test_client()

    assert client.get("/jobs", headers={"Host": "127.0.0.2:8080"}).status_code == 200


def test_refuses_a_foreign_origin_without_a_key(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    expected = by(OWN_ORIGINS, status=201) | by(FOREIGN_ORIGINS, status=403)

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

    assert found == by(OWN_HEADERS, status=200)


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
    expected = by(LOCAL_PEERS, status=200) | by(OTHER_PEERS, status=401)

    # As under `gunicorn --bind 0.0.0.0:80`, which the settings do not show.
    found = {peer: client.get("/jobs", environ_overrides={"REMOTE_ADDR": peer}).status_code for peer in expected}

    assert found == expected
