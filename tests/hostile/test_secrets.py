"""What the service knows and must not tell, and the fields that a kind marks as secret: in answers, errors and logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
import requests
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.conftest import eventually
from tests.hostile.conftest import SECRETS, Ear, Watched, ended
from tests.web import Server, answers, gunicorn

Start = Callable[..., Watched]
# Each is found by its own name, wherever it comes out.
MUST_NOT_TELL = ("db-hunter2", "smtp-hunter2", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "storage-hunter2", "url-hunter2")
MUST_NOT_TELL += ("query-hunter2", "path-hunter2", "header-hunter2")
TEXT_OR_JSON = pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.slow)])


def told(texts: dict[str, str], secrets: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the secrets that texts hold, each with where it is."""
    return [(where, secret) for where, text in texts.items() for secret in secrets if secret in text]


@contextmanager
def both(dsn: str, start_worker: Start, texts: dict[str, str], **settings: str) -> Iterator[Server]:
    """Run a worker and a gunicorn that know secrets, and write down what they log."""
    known = {
        **SECRETS,
        "HAULIER_KINDS": "tests.hostile.secretive tests.hostile.witness",
        "LOG_LEVEL": "DEBUG",
        **settings,
    }
    worker = start_worker(**known, DATABASE_URL=dsn)
    with gunicorn(dsn, eventually, WEB_CONCURRENCY="1", **known, HOSTILE_WITNESS=str(worker.book)) as server:
        yield server
        texts["the API's log"] = server.log.read_text()
    texts["the worker's log"] = worker.server.log.read_text()


def with_password(dsn: str) -> str:
    """Return the DSN with a password in it, which the tests' server does not ask for."""
    parts = parse_dsn(dsn)
    user, name = parts.pop("user"), parts.pop("dbname")
    query = "&".join(f"{key}={quote(value)}" for key, value in parts.items() if key != "password")
    return f"postgresql://{user}:db-hunter2@/{name}?{query}"


PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
LOGIN = {"Authorization": "Bearer header-hunter2"}
LISTENS = "http://bob:url-hunter2@127.0.0.1:{ear}/path-hunter2"
JOBS: list[tuple[str, dict[str, Any]]] = [
    ("send_email", {"to": "a@b.c", "subject": "Hi", "body": "Hello."}),
    ("webhook_delivery", {"url": f"{LISTENS}?token=query-hunter2", "headers": LOGIN, "body": 1}),
    ("webhook_delivery", {"url": "http://bob:url-hunter2@[::1/path-hunter2", "body": 1}),
    ("webhook_delivery", {"url": "http://bob:url-hunter2@10.0.0.1/path-hunter2", "body": 1}),
    ("webhook_delivery", {"url": "http://url-hunter2@nowhere.invalid/path-hunter2", "body": 1}),
    ("resize_image", {"source": LISTENS}),
    ("resize_image", {"source": PIXEL, "target": f"{LISTENS}?X-Amz-Signature=query-hunter2"}),
    ("resize_image", {"source": PIXEL}),
    ("leak", {}),
]
PAGES = ("/api-docs/openapi.json", "/kinds", "/metrics", "/health", "/docs", "/jobs/x", "/nowhere?token=query-hunter2")


@TEXT_OR_JSON
def test_no_secret_comes_out(database: str, ear: Ear, start_worker: Start, conn: Connection, log_format: str) -> None:
    texts: dict[str, str] = {}
    knowing = {"SMTP_URL": "smtp://ann:smtp-hunter2@127.0.0.1:1", "LOG_FORMAT": log_format}
    knowing |= {"STORAGE_URL": "no-such-storage://key:storage-hunter2@bucket/"}
    knowing |= {"OUTBOUND_ALLOW_PRIVATE": f"127.0.0.1:{ear.port}"}

    with both(with_password(database), start_worker, texts, **knowing) as server:
        for kind, payload in JOBS:
            body = json.dumps({"kind": kind, "payload": payload, "max_attempts": 1}).replace("{ear}", str(ear.port))
            answer = requests.post(f"{server.url}/jobs", data=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 201, answer.text
        eventually(lambda: ended(conn) == len(JOBS))
        texts |= {page: requests.get(server.url + page).text for page in PAGES}
        for job in requests.get(f"{server.url}/jobs").json():
            assert job["status"] == "failed_permanent"
            # The payload is its sender's own, and is shown to whoever may read jobs.
            texts[f"job {job['id']}"] = json.dumps({name: job[name] for name in job if name != "payload"})
    ear.heard.clear()

    assert told(texts, MUST_NOT_TELL) == []
    assert "RuntimeError: cannot reach postgresql://" in "".join(texts.values())


def test_a_database_that_does_not_answer_is_reported_without_its_password() -> None:
    dsn = "postgresql://app:db-hunter2@127.0.0.1:1/x?connect_timeout=1"
    with gunicorn(dsn, eventually, WEB_CONCURRENCY="1", LOG_LEVEL="DEBUG") as server:
        answer = requests.post(f"{server.url}/jobs", json={"kind": JOBS[0][0], "payload": JOBS[0][1]})
        health = requests.get(f"{server.url}/health")

        assert (answer.status_code, health.status_code) == (503, 503)
        assert "db-hunter2" not in server.log.read_text() + answer.text + health.text


def test_a_setting_that_is_wrong_is_not_quoted(database: str) -> None:
    settings = [
        {"DATABASE_URL": "postgres://app:db-hunter2@db:notaport/x"},
        {"SMTP_URL": "smtp://ann:smtp-hunter2@mail:notaport"},
        {"WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!!"},
    ]
    for wrong in settings:
        given = {**SECRETS, "DATABASE_URL": database, **wrong}
        with gunicorn(given.pop("DATABASE_URL"), eventually, wait=False, **given) as server:
            # A gunicorn that is stopped before its processes have started waits for them for 25 s.
            eventually(lambda: server.process.poll() is not None or answers(server.url))
            log = server.log.read_text()

        assert log
        assert told({str(wrong): log}, MUST_NOT_TELL) == []


ADMIN = "0123456789abcdef" * 4
OF_FIELDS = ("tok-hunter2", "pass-hunter2", "other-hunter2", "key-hunter2", "73519284", "hunter2-wrong")


def fields(token: Any, password: str, other: str, key: str, pin: Any) -> dict[str, Any]:
    users = [{"user": "ann", "password": password}, {"user": "bob", "password": other}]
    return {"token": token, "login": users[0], "logins": users[1:], "keys": {"one": key}, "pin": pin}


# The token has what texts have several forms of.
PAYLOAD = fields("tok-hunter2'\"\\é/%", "pass-hunter2", "other-hunter2", "key-hunter2", 73_519_284)
MASKED = fields(*["•••"] * 5)
HOW = ("raise", "long", "retry", "fail", "nonsense", "return")
WRONG_LOGIN = {"login": {"user": "ann", "password": "hunter2-wrong"}}
WRONG = [
    *({"token": token} for token in ("hunter2-wrong", "hunter2-wrong" * 40, 73_519_284)),
    *(WRONG_LOGIN, {"keys": {"one": ["key-hunter2"]}}, {"unknown": 1}),
]


@TEXT_OR_JSON
def test_a_secret_field_comes_out_nowhere(
    database: str, start_worker: Start, conn: Connection, log_format: str
) -> None:
    _, token = api_keys.create(conn, NewKey("tests", [Scope.ENQUEUE, Scope.READ, Scope.OPERATE]), actor="test")
    texts: dict[str, str] = {}
    settings = {"HAULIER_API_KEY": ADMIN, "LOG_FORMAT": log_format, "LOG_JOBS": "on"}

    with both(database, start_worker, texts, **settings) as server:

        def call(method: str, path: str, key: str = token, **given: Any) -> requests.Response:
            shown = {"Authorization": f"Bearer {key}", **given.pop("headers", {})}
            answer = requests.request(method, server.url + path, headers=shown, **given)
            if key is token:
                texts[f"{method} {path} {len(texts)}"] = answer.text
            return answer

        jobs = {}
        for kind in ("secretive", "secretive.isolated"):
            for how in HOW:
                body = {"kind": kind, "payload": {"how": how, **PAYLOAD}, "max_attempts": 2}
                for _ in range(2):
                    job = call("POST", "/jobs", json=body, headers={"Idempotency-Key": f"{kind}-{how}"}).json()
                jobs[job["id"]] = job
                assert job["payload"] == {"how": how, **MASKED}
        for wrong in WRONG:
            body = {"kind": "secretive", "payload": {"how": "return", **PAYLOAD, **wrong}}
            refused = [call("POST", "/jobs", json=body), call("POST", "/jobs/batch", json=[body])]
            refused.append(call("POST", "/jobs/batch?atomic=false", json=[body]))
            assert [answer.status_code for answer in refused] == [422, 422, 200]

        ran = "SELECT count(*) FROM haulier.jobs WHERE status <> 'running' AND attempts > 0"
        with conn.cursor() as cursor:
            eventually(lambda: cursor.execute(ran) or cursor.fetchone() == (len(jobs),))
        for job_id in jobs:
            for path in ("", "/explain", "/timeline"):
                call("GET", f"/jobs/{job_id}{path}")
            # The masks come back, and the secrets stay.
            changed = {"payload": {**jobs[job_id]["payload"], "how": "return"}}
            copy = call("POST", f"/jobs/{job_id}/copy", json={**changed, "delay_seconds": 3600})
            assert (copy.status_code, copy.json()["payload"]) == (201, {"how": "return", **MASKED})
            own = f"/jobs/{copy.json()['id']}"
            assert call("PATCH", own, json={"payload": jobs[job_id]["payload"]}).ok
            assert call("PATCH", own, json={"payload": {**changed["payload"], **WRONG_LOGIN}}).status_code == 422
            for verb in ("cancel", "retry"):
                call("POST", f"/jobs/{job_id}/{verb}")
        for path in ("/jobs", "/metrics", "/workers", "/database", "/audit", "/queues", "/stats", "/kinds", "/health"):
            call("GET", path)
        document = call("GET", "/api-docs/openapi.json").text
        as_admin = [call("GET", f"/jobs/{job_id}", ADMIN).json() for job_id in jobs]
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(audit)::text FROM haulier.audit")
        texts["the audit"] = json.dumps(cursor.fetchall())

    assert told(texts, OF_FIELDS) == []
    assert "the token is •••" in texts["the worker's log"]
    assert all(job["payload"] == {"how": job["payload"]["how"], **PAYLOAD} for job in as_admin)
    assert '"writeOnly":true' in document
    # A cut error is masked before it is cut.
    assert not [job for job in as_admin if job["last_error"] and "tok-h" in job["last_error"]]
