"""What every answer has in common: errors in one shape, request ids, methods, headers; and the database away."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta, timezone
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn

from app.api.schemas.job import JobResponse
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.upkeep.migrate import migrate
from lab.proxy import proxy_to
from tests.http.api_calls import CALLS, example_of
from tests.http.callers import JOB
from tests.web import EMAIL
from tests.web.jobs import in_all_states

PATHS = ["/jobs", "/kinds", "/health", "/health/live", "/metrics", "/docs", "/api-docs/openapi.json", "/"]
ANY_NAME = ("POST /queues/{name}/pause", "POST /queues/{name}/resume", "PUT /schedules/{name}")


def test_answers_head_and_options_wherever_get_is_and_lets_nothing_be_kept(client: FlaskClient) -> None:
    for path in (*PATHS, "/nowhere", "/jobs/nonsense"):
        got, head, options = (client.open(path, method=method) for method in ("GET", "HEAD", "OPTIONS"))

        assert (head.status_code, head.content_type, head.data) == (got.status_code, got.content_type, b""), path
        assert (got.headers["Cache-Control"], "ETag" in got.headers) == ("no-store", False), path
        if path in PATHS:
            assert (options.status_code, "OPTIONS" in options.headers["Allow"]) == (200, True), path
    assert client.get("/").headers["Location"] == "/docs"


def test_another_method_is_405_with_allow(client: FlaskClient) -> None:
    allowed = {
        ("DELETE", "/jobs"): "GET HEAD OPTIONS POST",
        ("PUT", JOB): "DELETE GET HEAD OPTIONS PATCH",
        ("GET", "/jobs/batch"): "OPTIONS POST",
        ("POST", "/health"): "GET HEAD OPTIONS",
        ("POST", "/docs"): "GET HEAD OPTIONS",
        ("TRACE", "/jobs"): "GET HEAD OPTIONS POST",
        ("FROBNICATE", "/jobs"): "GET HEAD OPTIONS POST",
    }

    answers = {(method, path): client.open(path, method=method) for method, path in allowed}

    assert {(answer.status_code, answer.json["error"]) for answer in answers.values()} == {(405, "method_not_allowed")}
    found = {call: " ".join(sorted(answer.headers["Allow"].split(", "))) for call, answer in answers.items()}
    assert found == allowed


def test_takes_a_good_request_id_and_replaces_any_other(client: FlaskClient) -> None:
    for sent in ("a", "A1._:+/=-", "x" * 200, "", "x" * 201, "a b", 'a"b', "a;b", "ä"):
        answer = client.get("/nowhere", headers={"X-Request-Id": sent})

        request_id = answer.headers["X-Request-Id"]
        assert answer.status_code == 404
        assert answer.json == {"error": "not_found", "message": "no such path", "request_id": request_id}
        is_good = re.fullmatch("[A-Za-z0-9._:+/=-]{1,200}", sent) is not None
        assert (request_id == sent, is_good or len(request_id) == 32) == (is_good, True), sent


def test_a_thing_that_does_not_exist_is_404(client: FlaskClient) -> None:
    bodies = {"jobs": {"priority": 1}, "workers": {"quiet": True}, "errors": {"muted_until": None}}
    # Any name may be a queue's, and a schedule is made by naming it.
    calls = [each for each in CALLS if "{" in each and each not in ANY_NAME]
    assert len(calls) > 20

    for call in calls:
        method, path = example_of(call)
        body = bodies[path.split("/")[1]] if method == "PATCH" else None
        answer = client.open(path, method=method, json=body)

        assert (answer.status_code, answer.json["error"]) == (404, "not_found"), call
        assert path.split("/")[2] in answer.json["message"]


# None of them can be an id, or the name of a queue, a key or a schedule.
NO_NAMES = [
    "Nightly",
    "a%20b",
    "a%00b",
    "%00",
    "%ff",
    "*",
    "%27",
    "x" * 65,
    "9" * 3000,
    f"{{{JOB[6:]}}}",
    f"{JOB[6:]}/",
]
SCHEDULE = {"cron": "0 2 * * *", "job": EMAIL}


def test_what_is_no_name_is_404(client: FlaskClient) -> None:
    answers = {
        (call, name): client.open(
            re.sub("{.*?}", name, call.split()[1]), method=call.split()[0], json=SCHEDULE if "PUT" in call else None
        )
        for call in CALLS
        for name in NO_NAMES
        if "{" in call and call.split()[0] != "PATCH"
    }

    found = {at: (answer.status_code, answer.json["error"]) for at, answer in answers.items()}
    assert found == dict.fromkeys(found, (404, "not_found"))


def test_each_request_is_a_line_in_the_log_without_its_query(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    client.get("/jobs?queue=secret")
    client.get("/health")

    [line] = [record.getMessage() for record in caplog.records if record.name == "app.http.request_log"]
    assert line.startswith("GET /jobs 200 in ")
    assert "secret" not in line


@pytest.fixture
def broken(make_app: Callable[..., Flask], migrated_database: str) -> FlaskClient:
    """Give a client of an application whose database lacks what it needs."""
    with closing(connect(migrated_database)) as conn, conn.cursor() as cursor:
        cursor.execute("DROP VIEW haulier.jobs")
    return make_app(Config(database_url=migrated_database)).test_client()


def test_an_unforeseen_error_is_500_and_says_nothing(broken: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = broken.get("/jobs", headers={"X-Request-Id": "r1"})

    assert answer.status_code == 500
    assert answer.json == {"error": "internal", "message": "internal server error", "request_id": "r1"}
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info
    assert "UndefinedTable" in caplog.text


def test_a_database_without_the_schema_is_503_with_the_command(
    make_app: Callable[..., Flask], fresh_database: str
) -> None:
    client = make_app(Config(database_url=fresh_database)).test_client()

    before = client.post("/jobs", json=EMAIL)
    with closing(connect(fresh_database)) as conn:
        migrate(conn, retention_days=30)
    after = client.post("/jobs", json=EMAIL)

    assert (before.status_code, before.json["error"]) == (503, "unavailable")
    assert "python -m haulier migrate" in before.json["message"]
    assert after.status_code == 201


ON_DATABASE: list[tuple[str, str, Any]] = [
    *(("POST", "/jobs", EMAIL), ("POST", "/jobs/batch", [EMAIL]), ("GET", "/jobs", None), ("GET", JOB, None)),
    *(("POST", f"{JOB}/cancel", None), ("POST", f"{JOB}/retry", None), ("GET", "/health", None)),
]


def test_every_call_on_a_database_that_is_away_is_503(make_app: Callable[..., Flask], database: str) -> None:
    with proxy_to(database) as proxy:
        client = make_app(Config(database_url=proxy.url)).test_client()
        assert client.get("/health").status_code == 200

        proxy.go_away()
        answers = [client.open(path, method=method, json=body) for method, path, body in ON_DATABASE]
        others = [client.get(path) for path in ("/health/live", "/kinds", "/docs", "/metrics")]
        bad = [client.post("/jobs", json={}), client.get("/jobs?limit=x"), client.post("/jobs", data="x")]
        proxy.come_back()
        again = [client.open(path, method=method, json=body) for method, path, body in ON_DATABASE]

    for answer in answers:
        assert (answer.status_code, answer.json["error"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in answer.text
    assert [answer.status_code for answer in others] == [200] * 4
    assert [answer.status_code for answer in bad] == [422, 422, 415]
    assert "haulier_database_up 0.0" in others[-1].text
    assert [answer.status_code for answer in again] == [201, 201, 200, 404, 404, 404, 200]


@pytest.mark.direct("sets something for its session")
def test_a_database_that_takes_no_writes_is_not_healthy(make_app: Callable[..., Flask], database: str) -> None:
    read_only = make_dsn(database, options="-c default_transaction_read_only=on")
    client = make_app(Config(database_url=read_only)).test_client()

    answers = [client.get("/health"), client.post("/jobs", json=EMAIL)]
    reading = client.get("/jobs")

    assert [(answer.status_code, answer.json["error"]) for answer in answers] == [(503, "unavailable")] * 2
    assert answers[0].json["message"] == "The database is read-only."
    assert reading.status_code == 200


@pytest.mark.direct("a pool refuses connections in its own words")
def test_too_many_connections_are_503(make_app: Callable[..., Flask], migrated_database: str) -> None:
    role = f"haulier_test_{uuid.uuid4().hex[:12]}"
    with closing(connect(migrated_database)) as conn, conn.cursor() as cursor:
        try:
            cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 0")
        except InsufficientPrivilege:
            pytest.skip("the server's role may not create another, which this needs")
        try:
            client = make_app(Config(make_dsn(migrated_database, user=role, password="few"))).test_client()

            answer = client.get("/health")
        finally:
            cursor.execute(f"DROP ROLE {role}")

    assert (answer.status_code, answer.json["error"]) == (503, "unavailable")
    assert answer.json["message"] == "The database accepts no more connections."


def test_a_job_is_shown_as_its_schema_would_show_it(conn: Connection) -> None:
    jobs = [search.get(conn, job) for job in in_all_states(conn).values()]
    jobs.append(jobs[0]._replace(run_at=jobs[0].run_at.astimezone(timezone(timedelta(hours=2))), tags=["é", '"']))

    printed = json.loads(JobResponse(many=True).printed(jobs))

    # It neither lacks nor adds a field, nor gives it in another order.
    assert json.dumps(printed) == json.dumps([Schema.dump(JobResponse(), job.read()) for job in jobs])
    assert [json.loads(JobResponse().printed(job)) for job in jobs] == printed
    assert JobResponse(many=True).printed([]) == b"[]"
