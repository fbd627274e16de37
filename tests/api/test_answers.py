"""What every answer has in common: errors in one shape, request ids, methods, headers; and the database away."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import make_dsn

from app.api.schemas.job import JobResponse
from haulier.config import Config
from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect
from haulier.queue.rows import StoredJob
from haulier.queue.upkeep.migrate import migrate
from lab.proxy import proxy_to
from tests.web import EMAIL

PATHS = ["/jobs", "/kinds", "/health", "/health/live", "/metrics", "/docs", "/api-docs/openapi.json", "/"]


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_wherever_get_is(client: FlaskClient, path: str) -> None:
    got, head = client.get(path), client.head(path)

    assert head.status_code == got.status_code
    assert head.content_type == got.content_type
    assert head.data == b""


@pytest.mark.parametrize("path", [*PATHS, "/jobs/batch", "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11/cancel"])
def test_options_is_200_with_allow(client: FlaskClient, path: str) -> None:
    answer = client.options(path)

    assert answer.status_code == 200
    assert "OPTIONS" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PUT", "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH"}),
        ("GET", "/jobs/batch", {"OPTIONS", "POST"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/docs", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("FROBNICATE", "/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_another_method_is_405_with_allow(client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    answer = client.open(path, method=method)

    assert (answer.status_code, answer.json["error"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/jobs/nonsense"])
def test_no_answer_may_be_kept_and_none_has_an_etag(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


def test_an_error_has_a_slug_a_sentence_and_the_request_id(client: FlaskClient) -> None:
    answer = client.get("/nowhere")

    assert answer.status_code == 404
    assert answer.json == {
        "error": "not_found",
        "message": "no such path",
        "request_id": answer.headers["X-Request-Id"],
    }


@pytest.mark.parametrize("given", ["a", "A1._:+/=-", "x" * 200])
def test_a_good_request_id_is_taken(client: FlaskClient, given: str) -> None:
    answer = client.get("/nowhere", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given
    assert answer.json["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 201, "a b", 'a"b', "a;b", "ä"])
def test_another_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/nowhere", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] != given
    assert len(answer.headers["X-Request-Id"]) == 32


def test_home_leads_to_the_docs(client: FlaskClient) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/docs")


def test_each_request_is_a_line_in_the_log_without_its_query(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    client.get("/jobs?queue=secret")
    client.get("/health")

    [line] = [record.getMessage() for record in caplog.records if record.name == "app.http.envelope"]
    assert line.startswith("GET /jobs 200 in ")
    assert "secret" not in line


@pytest.fixture
def broken(make_app: Callable[..., Flask], migrated_database: str) -> FlaskClient:
    """Give a client of an application whose database lacks what it needs."""
    with closing(connect(migrated_database)) as conn, conn.cursor() as cursor:
        cursor.execute("DROP VIEW haulier.jobs")
    return make_app(Config(database_url=migrated_database)).test_client()


def test_what_nobody_foresaw_is_500_and_says_nothing(broken: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
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


CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/jobs", EMAIL),
    ("POST", "/jobs/batch", [EMAIL]),
    ("GET", "/jobs", None),
    ("GET", "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", None),
    ("POST", "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11/cancel", None),
    ("POST", "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11/retry", None),
    ("GET", "/health", None),
]


def test_while_the_database_is_away_every_call_on_it_is_503_and_then_all_is_well(
    make_app: Callable[..., Flask], database: str
) -> None:
    with proxy_to(database) as proxy:
        client = make_app(Config(database_url=proxy.url)).test_client()
        assert client.get("/health").status_code == 200

        proxy.go_away()
        answers = [client.open(path, method=method, json=body) for method, path, body in CALLS]
        others = [client.get(path) for path in ("/health/live", "/kinds", "/docs", "/metrics")]
        proxy.come_back()
        again = [client.open(path, method=method, json=body) for method, path, body in CALLS]

    for answer in answers:
        assert (answer.status_code, answer.json["error"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in answer.text
    assert [answer.status_code for answer in others] == [200] * 4
    assert "haulier_database_up 0.0" in others[-1].text
    assert [answer.status_code for answer in again] == [201, 201, 200, 404, 404, 404, 200]


@pytest.mark.direct("sets something for its session")
def test_a_database_that_takes_no_writes_is_not_healthy(make_app: Callable[..., Flask], database: str) -> None:
    read_only = make_dsn(database, options="-c default_transaction_read_only=on")
    client = make_app(Config(database_url=read_only)).test_client()

    answers = [client.get("/health"), client.post("/jobs", json=EMAIL)]
    reading = client.get("/jobs")

    assert [(answer.status_code, answer.json["error"]) for answer in answers] == [(503, "unavailable")] * 2
    assert answers[0].json["message"] == "The database takes no writes."
    assert reading.status_code == 200


def test_a_bad_request_is_told_so_also_while_the_database_is_away(make_app: Callable[..., Flask]) -> None:
    client = make_app(Config(database_url="postgresql://127.0.0.1:1/nothing")).test_client()

    answers = [client.post("/jobs", json={}), client.get("/jobs?limit=x"), client.post("/jobs", data="x")]

    assert [answer.status_code for answer in answers] == [422, 422, 415]


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
    assert answer.json["message"] == "The database takes no further connection."


NOW = datetime(2031, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
WAITING = StoredJob(
    id=uuid.UUID(int=7),
    status=JobStatus.QUEUED,
    kind="mail",
    queue="default",
    priority=-1,
    run_at=NOW.astimezone(timezone(timedelta(hours=2))),
    attempts=0,
    max_attempts=3,
    timeout_seconds=None,
    cancel_requested=False,
    payload='{"n": [1, null, "é"]}'.encode(),
    idempotency_key=None,
    last_error=None,
    created_at=NOW,
    updated_at=NOW,
    started_at=None,
    attempt=0,
    claim=None,
    worker_id=None,
    crashes=0,
    snoozes=0,
    backoff=None,
    errors=b"[]",
)
ENDED = WAITING._replace(
    status=JobStatus.FAILED_PERMANENT,
    started_at=NOW,
    finished_at=NOW,
    last_error="no",
    errors=b'[{"attempt": 1, "at": "2031-01-02T03:04:05Z", "error": "no"}]',
    result=b'{"a": 1.5}',
    timeout_seconds=5,
    idempotency_key="k",
    claim=uuid.UUID(int=8),
    tags=["vip", '"'],
)


@pytest.mark.parametrize("job", [WAITING, ENDED], ids=["waiting", "ended"])
def test_a_job_is_shown_as_its_schema_would_show_it(job: StoredJob) -> None:
    expected = json.dumps(Schema.dump(JobResponse(), job.read()))

    one = json.loads(JobResponse().printed(job))
    none, two = (json.loads(JobResponse(many=True).printed(jobs)) for jobs in ([], [job, job]))

    # It neither lacks nor adds a field, nor says it in another order.
    assert json.dumps(one) == expected
    assert (none, two) == ([], [one, one])
