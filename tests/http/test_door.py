"""Who may call what: without a key, with one that lacks something, on the machine itself, through a proxy."""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import keyring
from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope, hash_of
from haulier.domain.claim import Fence, Settlement
from haulier.domain.neighbour import PROXY_PREFIXES
from haulier.domain.outcome import Outcome
from haulier.queue import consume
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.proxy import proxy_to
from tests.web import EMAIL

SECRET = "0123456789abcdef" * 4
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "FROBNICATE"]
READS = ["GET", "HEAD", "OPTIONS"]
OPEN = ["/health", "/health/live", "/docs", "/docs/docs.js", "/docs/assets/swagger-ui.css", "/api-docs/openapi.json"]
JOB = "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"

MakeApp = Callable[..., Flask]
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def public(config: Config) -> Config:
    """Give the settings of a service that others than this machine can reach."""
    return replace(config, host="0.0.0.0")


@pytest.fixture
def closed(make_app: MakeApp, public: Config) -> FlaskClient:
    """Give the client of such a service, without any key yet."""
    return make_app(public).test_client()


@pytest.fixture
def make_key(conn: Connection) -> MakeKey:
    """Give a function that makes a key of some scopes and returns it with the headers that show it."""

    def make_key(*scopes: Scope, **options: Any) -> tuple[ApiKey, dict[str, str]]:
        key, token = api_keys.create(conn, NewKey("tests", scopes or [Scope.ADMIN], **options), actor="test")
        return key, bearer(token)

    return make_key


def every_path(app: Flask) -> set[str]:
    """Return a path for each route of the application."""
    return {
        re.sub(r"<(?:(\w+):)?\w+>", lambda part: JOB.split("/")[2] if part[1] == "uuid" else "x", rule.rule)
        for rule in app.url_map.iter_rules()
    }


# Without a key


def test_off_loopback_without_a_key_every_route_answers_401_on_every_method(closed: FlaskClient) -> None:
    paths = every_path(closed.application) | {"/nowhere", "/jobs/nonsense", "/jobs/", "//jobs", "/docs/../jobs", "*"}
    shut = {path for path in paths if path not in (*OPEN, "/docs/assets/x")}
    assert {"/", "/jobs", "/jobs/batch", JOB, f"{JOB}/cancel", f"{JOB}/retry", "/kinds", "/metrics"} <= shut

    answers = {(method, path): closed.open(path, method=method) for path in shut for method in METHODS}

    assert {call: answer.status_code for call, answer in answers.items()} == dict.fromkeys(answers, 401)
    for (method, _), answer in answers.items():
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="haulier"'
        if method != "HEAD":
            assert answer.json["error"] == "unauthorized"
            assert answer.json["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("path", OPEN)
def test_what_is_named_stays_readable_without_a_key(closed: FlaskClient, path: str) -> None:
    assert [closed.open(path, method=method, buffered=True).status_code for method in READS] == [200] * 3


def test_another_method_on_what_is_readable_is_401_and_with_a_key_405(closed: FlaskClient, make_key: MakeKey) -> None:
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


def test_a_route_that_nobody_has_thought_of_needs_admin(make_app: MakeApp, public: Config, make_key: MakeKey) -> None:
    app = make_app(public)
    app.add_url_rule("/secret-plans", "plans", lambda: "plans")
    (_, read), (_, admin) = make_key(Scope.READ, Scope.ENQUEUE, Scope.OPERATE), make_key(Scope.ADMIN)

    answers = [app.test_client().get("/secret-plans", headers=headers) for headers in ({}, read, admin)]

    assert [answer.status_code for answer in answers] == [401, 403, 200]


# A key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic aGxyOmhscg==",
        f"Basic {SECRET}",
        SECRET,
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET.upper()}",
        f"Bearer {SECRET}, Bearer {SECRET}",
        f"Token {SECRET}",
        "Bearer hlr_abcdefghijkl_" + "x" * 43,
        "Bearer hlr_env_" + "x" * 43,
        "Bearer " + "x" * 5000,
        "Bearer é",
        "Bearer hlr_%_%",
    ],
)
def test_what_is_not_a_good_key_is_401(make_app: MakeApp, public: Config, header: str) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()

    answer = client.get("/jobs", headers={"Authorization": header})

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_first_key_may_do_everything(make_app: MakeApp, public: Config, scheme: str) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    shown = {"Authorization": f"{scheme} {SECRET}"}

    created = client.post("/jobs", json=EMAIL, headers=shown)
    job = created.headers["Location"]
    answers = [client.get(path, headers=shown) for path in ("/jobs", job, "/kinds", "/metrics", "/")]
    answers += [client.post(f"{job}/{verb}", headers=shown) for verb in ("cancel", "retry")]

    assert created.status_code == 201
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 302, 200, 200]


@pytest.mark.parametrize("given", [{"query_string": {"key": SECRET}}, {"headers": {"X-Api-Key": SECRET}}])
def test_a_key_elsewhere_than_in_the_header_is_none(make_app: MakeApp, public: Config, given: Any) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()

    assert client.get("/jobs", **given).status_code == 401


def test_a_made_key_opens_until_it_is_revoked_or_expires(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    (key, shown), (_, short) = make_key(), make_key(lifetime=timedelta(seconds=-1))

    before = [closed.get("/jobs", headers=headers).status_code for headers in (shown, short)]
    api_keys.revoke(conn, key.id, actor="test")
    after = closed.get("/jobs", headers=shown)

    assert before == [200, 401]
    assert after.status_code == 401
    assert after.headers["WWW-Authenticate"] == 'Bearer realm="haulier", error="invalid_token"'


def test_a_revoked_key_is_taken_for_5_seconds_at_most(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, eventually: Callable[..., Any]
) -> None:
    key, shown = make_key()
    assert closed.get("/jobs", headers=shown).status_code == 200

    api_keys.revoke(conn, key.id, actor="test")
    at_once = closed.get("/jobs", headers=shown)

    assert at_once.status_code == 200
    eventually(lambda: closed.get("/jobs", headers=shown).status_code == 401, within=5.5)


def test_both_tokens_of_a_rotated_key_open_while_they_overlap(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    key, first = make_key()

    second = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(hours=1), actor="test"))
    both = [closed.get("/jobs", headers=headers).status_code for headers in (first, second)]
    third = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="test"))
    last = [closed.get("/jobs", headers=headers).status_code for headers in (first, second, third)]

    assert both == [200, 200]
    assert last == [401, 401, 200]


def test_a_new_secret_is_good_at_once(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    key, first = make_key()
    assert closed.get("/jobs", headers=first).status_code == 200

    for _ in range(3):
        second = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(hours=1), actor="test"))

        assert closed.get("/jobs", headers=second).status_code == 200


def test_a_key_that_was_asked_for_too_early_is_good_soon(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, eventually: Callable[..., Any]
) -> None:
    key, shown = make_key()
    with conn.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM haulier.api_key")
        cursor.execute("DELETE FROM haulier.api_key")
        assert closed.get("/jobs", headers=shown).status_code == 401

        cursor.execute("INSERT INTO haulier.api_key SELECT * FROM kept")

    eventually(lambda: closed.get("/jobs", headers=shown).status_code == 200, within=1)


def test_a_wrong_secret_of_a_known_key_is_not_looked_up_each_time(
    closed: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 60.0)
    key, shown = make_key()
    statements = Statements(monkeypatch)

    wrong = [closed.get("/jobs", headers=bearer(f"hlr_{key.id}_{'x' * 43}")).status_code for _ in range(50)]
    right = closed.get("/jobs", headers=shown).status_code

    assert (wrong, right) == ([401] * 50, 200)
    assert statements.counts["find"] <= 3


def test_tokens_that_are_made_up_cannot_load_the_database(
    closed: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "GUESSES_PER_SECOND", 0.001)
    monkeypatch.setattr(keyring, "MOST_GUESSES", 20.0)
    (_, used), (_, fresh) = make_key(), make_key()
    client = closed.application.test_client()
    assert client.get("/jobs", headers=used).status_code == 200
    statements = Statements(monkeypatch)

    answers = [client.get("/jobs", headers=bearer(f"hlr_{number:012d}_{'x' * 43}")) for number in range(100)]

    assert {answer.status_code for answer in answers[:15]} == {401}
    assert {answer.status_code for answer in answers[25:]} == {429}
    assert statements.counts["find"] <= 21
    assert int(answers[-1].headers["Retry-After"]) > 0
    # Who is known goes on; who is not yet is asked to come again, and not told that the key is wrong.
    assert [client.get("/jobs", headers=shown).status_code for shown in (used, fresh)] == [200, 429]


def test_keys_are_compared_in_constant_time(
    closed: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shown = make_key()
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    # As far as this can be tested: it is that function's word alone that counts.
    monkeypatch.setattr(hmac, "compare_digest", compare)
    answer = closed.get("/jobs", headers=shown)

    assert answer.status_code == 401
    assert compared == [(hash_of(shown["Authorization"].split()[1]),) * 2]


# What a key may do

CALLS: dict[str, tuple[str, str, Any]] = {
    "enqueue": ("POST", "/jobs", EMAIL),
    "enqueue many": ("POST", "/jobs/batch", [EMAIL]),
    "list": ("GET", "/jobs", None),
    "look": ("GET", JOB, None),
    "metrics": ("GET", "/metrics", None),
    "cancel": ("POST", f"{JOB}/cancel", None),
    "retry": ("POST", f"{JOB}/retry", None),
    "kinds": ("GET", "/kinds", None),
}
MAY = {
    Scope.ENQUEUE: {"enqueue", "enqueue many", "kinds"},
    Scope.READ: {"list", "look", "metrics", "kinds"},
    Scope.OPERATE: {"cancel", "retry", "kinds"},
    Scope.ADMIN: set(CALLS),
}


@pytest.mark.parametrize("scope", Scope)
def test_a_key_may_do_what_its_scope_says_and_else_403_names_the_missing_one(
    closed: FlaskClient, make_key: MakeKey, scope: Scope
) -> None:
    _, shown = make_key(scope)

    answers = {
        name: closed.open(path, method=method, json=body, headers=shown) for name, (method, path, body) in CALLS.items()
    }

    assert {name for name, answer in answers.items() if answer.status_code != 403} == MAY[scope]
    for name, answer in answers.items():
        if answer.status_code == 403:
            [missing] = [each for each in Scope if name in MAY[each] and each is not Scope.ADMIN]
            assert answer.json["error"] == "forbidden"
            assert answer.json["message"] == f"this API key lacks the scope {missing}"
            assert f'error="insufficient_scope", scope="{missing}"' in answer.headers["WWW-Authenticate"]


def test_a_queue_that_is_not_the_keys_is_closed_to_it(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.ENQUEUE, Scope.READ, Scope.OPERATE, queues=["mail", "bulk"])
    elsewhere = closed.post("/jobs", json=EMAIL, headers=anyone).headers["Location"]
    own = closed.post("/jobs", json={**EMAIL, "queue": "mail"}, headers=limited)

    refused = [
        closed.post("/jobs", json=EMAIL, headers=limited),
        closed.post("/jobs", json={**EMAIL, "queue": "other"}, headers=limited),
        closed.post("/jobs/batch", json=[{**EMAIL, "queue": "mail"}, EMAIL], headers=limited),
        closed.get("/metrics", headers=limited),
    ]
    one_by_one = closed.post("/jobs/batch?atomic=false", json=[{**EMAIL, "queue": "bulk"}, EMAIL], headers=limited)
    hidden = [
        closed.get(elsewhere, headers=limited),
        *(closed.post(f"{elsewhere}/{verb}", headers=limited) for verb in ("cancel", "retry")),
    ]
    seen = {query: closed.get(f"/jobs{query}", headers=limited).json for query in ("", "?queue=mail", "?queue=default")}

    assert own.status_code == 201
    assert [(answer.status_code, answer.json["error"]) for answer in refused] == [(403, "forbidden")] * 4
    assert refused[0].json["message"] == "this API key may not use the queue default"
    assert [item["status"] for item in one_by_one.json["items"]] == [201, 403]
    assert [answer.status_code for answer in hidden] == [404] * 3
    assert hidden[0].json["message"] == f"job {elsewhere.split('/')[2]} not found"
    assert {query: [job["queue"] for job in jobs] for query, jobs in seen.items()} == {
        "": ["bulk", "mail"],
        "?queue=mail": ["mail"],
        "?queue=default": [],
    }
    assert [closed.get(own.headers["Location"], headers=limited).status_code] == [200]
    assert closed.get(elsewhere, headers=anyone).json["status"] == "queued"


def test_pages_of_a_keys_own_queues_lead_to_the_end(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.READ, queues=["mail"])
    for number in range(6):
        closed.post("/jobs", json={**EMAIL, "queue": "mail" if number % 2 else "other"}, headers=anyone)

    first = closed.get("/jobs?limit=2", headers=limited)
    second = closed.get(f"/jobs?limit=2&cursor={first.headers['Next-Cursor']}", headers=limited)

    assert [len(first.json), len(second.json)] == [2, 1]
    assert "Next-Cursor" not in second.headers


# Idempotency


def test_each_key_has_idempotency_keys_of_its_own(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, ann), (_, bob) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}

    first, again = (closed.post("/jobs", json=EMAIL, headers={**ann, **named}) for _ in range(2))
    other = closed.post("/jobs", json=EMAIL, headers={**bob, **named})
    items = [{**EMAIL, "idempotency_key": "order-7"}]
    batches = [closed.post("/jobs/batch", json=items, headers=headers).json["jobs"][0] for headers in (ann, bob)]

    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 201]
    assert again.json["id"] == first.json["id"] != other.json["id"]
    assert batches == [
        {"index": 0, "id": first.json["id"], "replayed": True},
        {"index": 0, "id": other.json["id"], "replayed": True},
    ]
    assert {answer.json["idempotency_key"] for answer in (first, other)} == {"order-7"}


def test_a_key_that_may_only_enqueue_reads_by_repeating_itself_what_it_asked_for_and_nothing_else(
    closed: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    (_, ann), (_, bob) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}
    first = closed.post("/jobs", json=EMAIL, headers={**ann, **named})
    worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    [job] = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    consume.settle(conn, [Settlement(Fence.of(job), Outcome.complete("swordfish"))])

    again = closed.post("/jobs", json=EMAIL, headers={**ann, **named})
    # Without all three of them, API key, idempotency key and request, nothing is told, not even an id.
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


def test_a_keys_idempotency_keys_outlive_its_rotation(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    key, old = make_key(Scope.ENQUEUE)
    named = {"Idempotency-Key": "order-7"}
    first = closed.post("/jobs", json=EMAIL, headers={**old, **named})

    new = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="test"))
    again = closed.post("/jobs", json=EMAIL, headers={**new, **named})

    assert (first.status_code, again.status_code) == (201, 200)


def test_callers_without_a_key_go_on_with_theirs(
    make_app: MakeApp, config: Config, closed: FlaskClient, make_key: MakeKey
) -> None:
    neighbour = make_app(replace(config, auth="off")).test_client()
    named = {"Idempotency-Key": "order-7"}
    first = neighbour.post("/jobs", json=EMAIL, headers=named)

    _, shown = make_key(Scope.ENQUEUE)
    keyed = closed.post("/jobs", json=EMAIL, headers={**shown, **named})
    again = neighbour.post("/jobs", json=EMAIL, headers=named)

    assert [first.status_code, keyed.status_code, again.status_code] == [201, 201, 200]


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


def test_auth_off_asks_nobody(make_app: MakeApp, public: Config, make_key: MakeKey) -> None:
    make_key()
    client = make_app(replace(public, auth="off", haulier_api_key=SECRET)).test_client()

    answers = [
        client.get("/jobs"),
        client.get("/jobs", headers={"Host": "evil.example", "X-Forwarded-For": "192.0.2.1"}),
        client.get("/metrics"),
    ]

    assert [answer.status_code for answer in answers] == [200] * 3


# Metrics


@pytest.mark.parametrize("how", [{}, {"auth": "off"}, {"host": "0.0.0.0"}])
def test_with_metrics_token_the_metrics_ask_for_it_or_a_key(
    make_app: MakeApp, config: Config, make_key: MakeKey, how: Any
) -> None:
    client = make_app(replace(config, metrics_token="scrape-me-gently", **how)).test_client()
    _, reader = make_key(Scope.READ)

    headers: list[dict[str, str]] = [{}, bearer("scrape-me"), bearer("scrape-me-gently"), reader]
    answers = [client.get("/metrics", headers=each).status_code for each in headers]

    assert answers == [401, 401, 200, 200]


def test_the_metrics_token_opens_nothing_else(make_app: MakeApp, public: Config) -> None:
    client = make_app(replace(public, metrics_token="scrape-me-gently")).test_client()

    answers = [client.get(path, headers=bearer("scrape-me-gently")).status_code for path in ("/jobs", "/kinds")]

    assert answers == [401, 401]


# How keys are known


class Statements:
    """Counts the statements about keys that are in the database's own record of calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = {"find": 0, "touch": 0, "any_exist": 0}
        for name in self.counts:
            monkeypatch.setattr(api_keys, name, self._counted(name, getattr(api_keys, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.counts[name] += 1
            return call(*args, **kwargs)

        return counted


def test_a_key_is_looked_up_once_and_noted_once(
    closed: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, conn: Connection
) -> None:
    key, shown = make_key()
    statements = Statements(monkeypatch)

    answers = [closed.get("/kinds", headers=shown).status_code for _ in range(20)]

    assert answers == [200] * 20
    assert statements.counts == {"find": 1, "touch": 1, "any_exist": 0}
    [kept] = api_keys.list_keys(conn)
    assert kept.last_used_at is not None


def test_what_is_no_key_is_looked_up_once_and_no_more_are_remembered_than_fit(
    closed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_TRIED", 10)
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 60.0)
    statements = Statements(monkeypatch)
    door = closed.application.before_request_funcs[None][-1].__self__
    tokens = [f"hlr_{number:012d}_{'x' * 43}" for number in range(25)]

    answers = [closed.get("/kinds", headers=bearer(token)).status_code for token in tokens for _ in range(3)]

    assert answers == [401] * 75
    assert statements.counts["find"] == 25
    assert len(door._keyring._tried) <= 10


def test_a_token_with_the_wrong_secret_is_not_noted_as_use(
    closed: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    key, _ = make_key()

    answer = closed.get("/kinds", headers=bearer(f"hlr_{key.id}_{'x' * 43}"))

    assert answer.status_code == 401
    assert [kept.last_used_at for kept in api_keys.list_keys(conn)] == [None]


def test_while_the_database_is_away_known_keys_go_on_and_others_are_503(
    make_app: MakeApp, public: Config, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "AGAIN_SECONDS", 0.0)
    (_, known), (_, unknown), (_, limited) = make_key(), make_key(), make_key(rate_limit=5)
    with proxy_to(public.database_url) as proxy:
        client = make_app(replace(public, database_url=proxy.url)).test_client()
        before = [client.get("/kinds", headers=headers).status_code for headers in (known, limited)]

        proxy.go_away()
        away = [client.get("/kinds", headers=headers) for headers in (known, limited, unknown)]
        proxy.come_back()
        back = client.get("/kinds", headers=unknown)

    assert before == [200, 200]
    assert [answer.status_code for answer in away] == [200, 200, 503]
    assert int(away[2].headers["Retry-After"]) > 0
    assert back.status_code == 200


def test_a_key_that_expires_while_the_database_is_away_does_not_go_on(
    make_app: MakeApp,
    public: Config,
    make_key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    _, shown = make_key(lifetime=timedelta(seconds=1))
    with proxy_to(public.database_url) as proxy:
        client = make_app(replace(public, database_url=proxy.url)).test_client()
        assert client.get("/kinds", headers=shown).status_code == 200

        proxy.go_away()

        eventually(lambda: client.get("/kinds", headers=shown).status_code == 503, within=5)


# Secrets


def test_secrets_are_in_no_log_error_document_or_description(
    make_app: MakeApp, public: Config, make_key: MakeKey, caplog: pytest.LogCaptureFixture, conn: Connection
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = replace(public, haulier_api_key=SECRET, metrics_token="scrape-me-gently")
    client = make_app(settings).test_client()
    key, shown = make_key()
    token = shown["Authorization"].split()[1]

    answers = [
        client.get(path, headers=headers, buffered=True)
        for headers in (shown, bearer(SECRET), bearer(token[:-1] + "!"), bearer(SECRET + "x"))
        for path in ("/jobs", "/nowhere", "/api-docs/openapi.json", "/metrics", "/docs")
    ]
    told = "".join(answer.text for answer in answers) + caplog.text + repr(settings) + repr(key)
    told += repr(client.application.before_request_funcs[None][-1].__self__.__dict__)

    with conn.cursor() as cursor:
        cursor.execute("SELECT row_to_json(api_key)::text FROM haulier.api_key")
        told += str(cursor.fetchall())
    assert "GET /jobs 200" in told
    for secret in (SECRET, token, token.split("_", 2)[2], "scrape-me-gently", repr(hash_of(token))):
        assert secret not in told


# The record


def test_what_a_key_does_to_jobs_is_noted(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    key, shown = make_key()
    job = closed.post("/jobs", json=EMAIL, headers=shown).headers["Location"]

    for verb in ("cancel", "cancel", "retry"):
        closed.post(f"{job}/{verb}", headers=shown)

    with conn.cursor() as cursor:
        cursor.execute("SELECT actor, action, job_id::text FROM haulier.audit WHERE job_id IS NOT NULL ORDER BY id")
        assert cursor.fetchall() == [(key.id, "cancel", job.split("/")[2]), (key.id, "retry", job.split("/")[2])]


def test_the_first_key_is_noted_as_env_and_who_needs_none_as_nobody(
    make_app: MakeApp, public: Config, conn: Connection
) -> None:
    by_the_first_key = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    by_anyone = make_app(replace(public, auth="off")).test_client()
    job = by_anyone.post("/jobs", json=EMAIL).headers["Location"]

    answers = [
        by_the_first_key.post(f"{job}/cancel", headers=bearer(SECRET)),
        by_anyone.post(f"{job}/retry"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    with conn.cursor() as cursor:
        cursor.execute("SELECT actor, action FROM haulier.audit ORDER BY id")
        assert cursor.fetchall() == [("env", "cancel"), (None, "retry")]


def test_what_was_refused_is_not_noted(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    (_, shown), (_, reader), (_, elsewhere) = make_key(), make_key(Scope.READ), make_key(queues=["mail"])
    job = closed.post("/jobs", json=EMAIL, headers=shown).headers["Location"]

    answers = [
        closed.post(f"{job}/retry", headers=shown),
        closed.post(f"{JOB}/cancel", headers=shown),
        closed.post(f"{job}/cancel", headers=reader),
        closed.post(f"{job}/cancel", headers=elsewhere),
        closed.post(f"{job}/cancel"),
    ]

    assert [answer.status_code for answer in answers] == [409, 404, 403, 404, 401]
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.audit WHERE job_id IS NOT NULL")
        assert cursor.fetchall() == [(0,)]
