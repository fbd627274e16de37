"""The fields that a kind marks as secret: they come out nowhere, but to who may do everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.hostile.conftest import SECRETS, Worker
from tests.web import gunicorn

ADMIN = "0123456789abcdef" * 4
# Each holds what texts have several forms of.
TOKEN, PASSWORD, OTHER, KEY, PIN = "tok-hunter2'\"\\é/%", "pass-hunter2", "other-hunter2", "key-hunter2", 73_519_284
MUST_NOT_TELL = ("tok-hunter2", "pass-hunter2", "other-hunter2", "key-hunter2", "73519284", "hunter2-wrong")
PAYLOAD: dict[str, Any] = {
    "token": TOKEN,
    "login": {"user": "ann", "password": PASSWORD},
    "logins": [{"user": "bob", "password": OTHER}],
    "keys": {"one": KEY},
    "pin": PIN,
}
MASKED: dict[str, Any] = {
    "token": "•••",
    "login": {"user": "ann", "password": "•••"},
    "logins": [{"user": "bob", "password": "•••"}],
    "keys": {"one": "•••"},
    "pin": "•••",
}
HOW = ("raise", "long", "retry", "fail", "nonsense", "return")
WRONG = [
    {"token": "hunter2-wrong"},
    {"token": "hunter2-wrong" * 40},
    {"token": 73_519_284},
    {"login": {"user": "ann", "password": "hunter2-wrong"}},
    {"keys": {"one": ["key-hunter2"]}},
    {"unknown": 1},
]


def request_for(kind: str, how: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "payload": {"how": how, **PAYLOAD, **more}, "max_attempts": 2}


@pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_a_secret_field_comes_out_nowhere(
    database: str,
    start_worker: Callable[..., Worker],
    conn: Connection,
    eventually: Callable[..., Any],
    log_format: str,
) -> None:
    settings = {**SECRETS, "HAULIER_KINDS": "tests.hostile.secretive tests.hostile.witness", "HAULIER_API_KEY": ADMIN}
    settings |= {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": log_format, "LOG_JOBS": "on"}
    worker = start_worker(**settings, DATABASE_URL=database)
    scopes = [Scope.ENQUEUE, Scope.READ, Scope.OPERATE]
    _, token = api_keys.create(conn, NewKey("tests", scopes), actor="test")
    texts: dict[str, str] = {}

    with gunicorn(database, eventually, WEB_CONCURRENCY="1", **settings, HOSTILE_WITNESS=str(worker.book)) as server:

        def call(method: str, path: str, key: str = token, **given: Any) -> requests.Response:
            shown = {"Authorization": f"Bearer {key}", **given.pop("headers", {})}
            answer = requests.request(method, server.url + path, headers=shown, **given)
            if key is token:
                texts[f"{method} {path} {len(texts)}"] = answer.text
            return answer

        jobs = {}
        for kind in ("secretive", "secretive.isolated"):
            for how in HOW:
                for _ in range(2):
                    named = {"Idempotency-Key": f"{kind}-{how}"}
                    job = call("POST", "/jobs", json=request_for(kind, how), headers=named).json()
                jobs[job["id"]] = job
                assert job["payload"] == {"how": how, **MASKED}
        for wrong in WRONG:
            body = request_for("secretive", "return", **wrong)
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
            assert call("PATCH", f"/jobs/{copy.json()['id']}", json={"payload": jobs[job_id]["payload"]}).ok
            wrong = {"payload": {**changed["payload"], "login": {"user": "ann", "password": "hunter2-wrong"}}}
            assert call("PATCH", f"/jobs/{copy.json()['id']}", json=wrong).status_code == 422
            for verb in ("cancel", "retry"):
                call("POST", f"/jobs/{job_id}/{verb}")
        for path in ("/jobs", "/metrics", "/workers", "/database", "/audit", "/queues", "/stats", "/kinds", "/health"):
            call("GET", path)
        call("GET", "/api-docs/openapi.json")
        as_admin = [call("GET", f"/jobs/{job_id}", ADMIN).json() for job_id in jobs]
        texts["the API's log"] = server.log.read_text()
    texts["the worker's log"] = worker.log.read_text()
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(audit)::text FROM haulier.audit")
        texts["the audit"] = json.dumps(cursor.fetchall())

    assert {where: [secret for secret in MUST_NOT_TELL if secret in text] for where, text in texts.items()} == {
        where: [] for where in texts
    }
    assert "the token is •••" in texts["the worker's log"]
    assert all(job["payload"] == {"how": job["payload"]["how"], **PAYLOAD} for job in as_admin)
    assert '"writeOnly":true' in texts[next(name for name in texts if "openapi" in name)]
    # A cut error is masked before it is cut.
    assert not [job for job in as_admin if job["last_error"] and "tok-h" in job["last_error"]]


def test_an_answer_stays_json_whatever_the_secrets_are(
    database: str, start_worker: Callable[..., Worker], conn: Connection, eventually: Callable[..., Any]
) -> None:
    settings = {**SECRETS, "HAULIER_KINDS": "tests.hostile.secretive tests.hostile.witness", "HAULIER_API_KEY": ADMIN}
    worker = start_worker(**settings, DATABASE_URL=database)
    _, token = api_keys.create(conn, NewKey("tests", [Scope.ENQUEUE, Scope.READ]), actor="test")
    headers = {"Authorization": f"Bearer {token}"}
    # A number; the names of an answer's own fields; what ends in the middle of an escape, or is one.
    payloads = [{"token": text, "pin": 1234567} for text in ("error", "note", "attempt", 'abc\\"', "abc\\", "\\u00e9")]

    with gunicorn(database, eventually, WEB_CONCURRENCY="1", **settings, HOSTILE_WITNESS=str(worker.book)) as server:
        for how in ("return", "fail"):
            for payload in payloads:
                body = {"kind": "secretive", "payload": {"how": how, **payload}, "max_attempts": 1}
                job = requests.post(server.url + "/jobs", json=body, headers=headers).json()

                def ended(job_id: str = job["id"]) -> Any:
                    found = requests.get(f"{server.url}/jobs/{job_id}", headers=headers).json()
                    return found if found["finished_at"] else None

                found = eventually(ended)
                assert found["payload"] == {"how": how, "token": "•••", "pin": "•••"}
                if how == "return":
                    assert found["result"]["payload"]["pin"] == "•••"
                else:
                    assert [set(error) for error in found["errors"]] == [
                        {"attempt", "started_at", "at", "worker", "error"}
                    ]
