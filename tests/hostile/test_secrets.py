"""What the service knows and must not tell: in errors, in logs, in its documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from tests.conftest import eventually
from tests.hostile.conftest import SECRETS, Ear, Worker, ended
from tests.web import answers, gunicorn

# Each is found by its own name, wherever it comes out.
MUST_NOT_TELL = ("db-hunter2", "smtp-hunter2", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "storage-hunter2", "url-hunter2")
MUST_NOT_TELL += ("query-hunter2", "path-hunter2", "header-hunter2")


def with_password(dsn: str) -> str:
    """Return the DSN with a password in it, which the tests' server does not ask for."""
    parts = parse_dsn(dsn)
    user, name = parts.pop("user"), parts.pop("dbname")
    query = "&".join(f"{key}={quote(value)}" for key, value in parts.items() if key != "password")
    return f"postgresql://{user}:db-hunter2@/{name}?{query}"


JOBS: list[dict[str, Any]] = [
    {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}},
    {
        "kind": "webhook_delivery",
        "payload": {
            "url": "http://bob:url-hunter2@127.0.0.1:{ear}/path-hunter2?token=query-hunter2",
            "headers": {"Authorization": "Bearer header-hunter2"},
            "body": 1,
        },
    },
    {"kind": "webhook_delivery", "payload": {"url": "http://bob:url-hunter2@[::1/path-hunter2", "body": 1}},
    {"kind": "webhook_delivery", "payload": {"url": "http://bob:url-hunter2@10.0.0.1/path-hunter2", "body": 1}},
    {"kind": "webhook_delivery", "payload": {"url": "http://url-hunter2@nowhere.invalid/path-hunter2", "body": 1}},
    {"kind": "resize_image", "payload": {"source": "http://bob:url-hunter2@127.0.0.1:{ear}/path-hunter2"}},
    {
        "kind": "resize_image",
        "payload": {
            "source": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw==",
            "target": "http://127.0.0.1:{ear}/path-hunter2?X-Amz-Signature=query-hunter2",
        },
    },
    {
        "kind": "resize_image",
        "payload": {"source": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="},
    },
    {"kind": "leak", "payload": {}},
]
PAGES = ("/api-docs/openapi.json", "/kinds", "/metrics", "/health", "/docs", "/jobs/x", "/nowhere?token=query-hunter2")


@pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_no_secret_comes_out(
    database: str,
    ear: Ear,
    start_worker: Callable[..., Worker],
    conn: Connection,
    log_format: str,
) -> None:
    knowing = {
        **SECRETS,
        "SMTP_URL": "smtp://ann:smtp-hunter2@127.0.0.1:1",
        "STORAGE_URL": "no-such-storage://key:storage-hunter2@bucket/",
        "HAULIER_KINDS": "tests.hostile.witness tests.hostile.leaky",
        "OUTBOUND_ALLOW_PRIVATE": f"127.0.0.1:{ear.port}",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": log_format,
    }
    dsn = with_password(database)
    worker = start_worker(**knowing, DATABASE_URL=dsn)

    with gunicorn(dsn, eventually, WEB_CONCURRENCY="1", **knowing, HOSTILE_WITNESS=str(worker.book)) as server:
        for job in JOBS:
            body = json.dumps({**job, "max_attempts": 1}).replace("{ear}", str(ear.port))
            answer = requests.post(f"{server.url}/jobs", data=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 201, answer.text
        eventually(lambda: ended(conn) == len(JOBS))
        texts = {page: requests.get(server.url + page).text for page in PAGES}
        for job in requests.get(f"{server.url}/jobs").json():
            assert job["status"] == "failed_permanent"
            # The payload is its sender's own, and is shown to whoever may read jobs.
            texts[f"job {job['id']}"] = json.dumps({name: job[name] for name in job if name != "payload"})
        texts["the API's log"] = server.log.read_text()
    texts["the worker's log"] = worker.log.read_text()
    ear.heard.clear()

    assert {where: [secret for secret in MUST_NOT_TELL if secret in text] for where, text in texts.items()} == {
        where: [] for where in texts
    }
    assert "RuntimeError: cannot reach postgresql://" in "".join(texts.values())


def test_a_database_that_does_not_answer_is_reported_without_its_password() -> None:
    with gunicorn(
        "postgresql://app:db-hunter2@127.0.0.1:1/x?connect_timeout=1",
        eventually,
        WEB_CONCURRENCY="1",
        LOG_LEVEL="DEBUG",
    ) as server:
        answer = requests.post(f"{server.url}/jobs", json=JOBS[0])
        health = requests.get(f"{server.url}/health")

        assert (answer.status_code, health.status_code) == (503, 503)
        assert "db-hunter2" not in server.log.read_text() + answer.text + health.text


def test_a_setting_that_is_wrong_is_not_quoted(database: str) -> None:
    settings = [
        {"DATABASE_URL": "mysql://app:db-hunter2@db/x"},
        {"DATABASE_URL": "postgres://app:db-hunter2@db:notaport/x"},
        {"SMTP_URL": "smtp://ann:smtp-hunter2@mail:notaport"},
        {"WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!!"},
        {"STORAGE_URL": "storage-hunter2"},
        {"OUTBOUND_ALLOW_PRIVATE": "10.0.0.0/33"},
    ]
    for wrong in settings:
        given = {**SECRETS, "DATABASE_URL": database, **wrong}
        with gunicorn(given.pop("DATABASE_URL"), eventually, wait=False, **given) as server:
            # A gunicorn that is stopped before its processes have started waits for them for 25 s.
            eventually(lambda: server.process.poll() is not None or answers(server.url))
            log = server.log.read_text()

        assert log
        assert [secret for secret in MUST_NOT_TELL if secret in log] == [], wrong
