"""Secret fields of a job: shown to admins only, and kept if the job is changed, queued again or copied."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from tests import queueing
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused
from tests.http.callers import MakeKey

SECRETS = {"how": "return", "token": "tok-hunter2", "logins": [{"user": "ann", "password": "pass-hunter2"}]}
MASKED = {"how": "return", "token": "•••", "logins": [{"user": "ann", "password": "•••"}]}


@pytest.fixture
def operator(make_key: MakeKey) -> dict[str, str]:
    return make_key(Scope.ENQUEUE, Scope.READ, Scope.OPERATE)[1]


@pytest.fixture
def secret_job(secretive: FlaskClient, operator: dict[str, str]) -> str:
    answer = secretive.post("/jobs", json={"kind": "secretive", "payload": SECRETS}, headers=operator)
    return str(answer.headers["Location"])


def stored(sql: Sql, job_id: str) -> Any:
    [[payload]] = sql("SELECT payload FROM haulier.jobs WHERE id = %s", job_id)
    return payload


def test_keeps_the_secrets_that_come_back_masked(
    secretive: FlaskClient, secret_job: str, operator: dict[str, str], sql: Sql
) -> None:
    body = {"payload": {**secretive.get(secret_job, headers=operator).json["payload"], "how": "raise"}}

    changed = secretive.patch(secret_job, json=body, headers=operator)
    secretive.post(f"{secret_job}/cancel", headers=operator)
    body["payload"]["how"] = "return"
    acts = [changed, *(secretive.post(f"{secret_job}/{act}", json=body, headers=operator) for act in ("retry", "copy"))]

    assert [(answer.status_code, answer.json["payload"]["how"]) for answer in acts] == [
        (200, "raise"), (200, "return"), (201, "return")
    ]  # fmt: skip
    for answer in acts:
        how = answer.json["payload"]["how"]
        assert answer.json["payload"] == {**MASKED, "how": how}
    assert [stored(sql, answer.json["id"]) for answer in acts] == [SECRETS] * 3
    records = sql("SELECT details::text FROM haulier.audit WHERE action IN ('change', 'retry', 'copy')")
    assert [("hunter2" in record, "•••" in record) for (record,) in records] == [(False, True)] * 2 + [(False, False)]


def test_refuses_a_mask_that_stands_for_nothing(
    secretive: FlaskClient, secret_job: str, operator: dict[str, str], sql: Sql
) -> None:
    rows: list[tuple[Any, str]] = [
        ({"logins": [{"user": "bob", "password": "•••"}]}, "payload.logins.0.password"),
        ({"logins": MASKED["logins"] * 2}, "payload.logins"),
        ({"login": {"user": "ann", "password": "•••"}}, "payload.login.password"),
        ({"keys": {"one": "•••"}}, "payload.keys.one"),
    ]

    def change(more: Any) -> Any:
        return secretive.patch(secret_job, json={"payload": {**MASKED, **more}}, headers=operator)

    assert not_refused(change, rows) == []
    assert "There is no stored secret" in change(rows[0][0]).text
    assert stored(sql, secret_job.removeprefix("/jobs/")) == SECRETS
    assert change({"logins": []}).status_code == 200


def test_reports_no_kept_secret_in_an_error(
    secretive: FlaskClient, operator: dict[str, str], conn: Connection, sql: Sql
) -> None:
    # As an application may have stored it.
    [[job_id]] = sql(
        "INSERT INTO haulier.job (kind, payload) VALUES ('secretive', %s) RETURNING id::text",
        '{"how": "return", "token": "hunter2-wrong"}',
    )

    answer = secretive.patch(f"/jobs/{job_id}", json={"payload": {"how": "raise", "token": "•••"}}, headers=operator)

    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_masks_in_the_record_what_is_secret_now(
    secretive: FlaskClient, make_key: MakeKey, operator: dict[str, str], sql: Sql
) -> None:
    sql(
        "INSERT INTO haulier.audit (action, job_id, details) VALUES ('change', haulier.uuidv7(), %s)",
        '{"kind": "secretive", "changes": {"payload": {"old": {"token": "tok-hunter2"}, "new_bytes": 20000}}}',
    )
    _, admin = make_key()

    (masked,), (whole,) = (
        [entry["details"] for entry in secretive.get("/audit?action=change", headers=headers).json]
        for headers in (operator, admin)
    )

    assert masked["changes"]["payload"] == {"old": {"token": "•••"}, "new_bytes": 20000}
    assert whole["changes"]["payload"]["old"] == {"token": "tok-hunter2"}


def test_masks_them_in_every_answer_that_quotes_a_payload_or_an_error(
    secretive: FlaskClient, make_key: MakeKey, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.masking.JOBS_AT_ONCE", 2)
    (_, reader), (_, admin) = make_key(Scope.READ), make_key(Scope.ADMIN)
    # As a worker stored them that did not know yet that the field is secret.
    jobs = [
        fail(f"Denied{name}: tok-{name}", kind="secretive", payload={"how": "raise", "token": f"tok-{name}"})
        for name in "ABC"
    ]
    waits = {"kind": "secretive", "payload": {"how": "a", "token": "tok-D"}}
    secretive.post("/jobs", json=waits, headers=admin)
    secretive.put("/schedules/nightly", json={"every_seconds": 60, "job": waits}, headers=admin)
    groups = secretive.get("/errors", headers=reader).json
    paths = ["/jobs", "/jobs?sort=due&queue=default&status=queued&status=retrying", "/schedules", "/schedules/nightly"]
    paths += ["/errors", f"/errors/{groups[0]['id']}", f"/jobs/{jobs[0].id}", f"/jobs/{jobs[0].id}/timeline"]

    for path in paths:
        masked, whole = (secretive.get(path, headers=headers).text for headers in (reader, admin))

        assert ("tok-" in masked, "•••" in masked, "tok-" in whole, "•••" in whole) == (False, True, True, False), path
    assert sorted(group["example"] for group in groups) == [f"Denied{name}: •••" for name in "ABC"]
    assert [group["text"] for group in groups] == [group["example"] for group in groups]


def test_an_answer_stays_json_whatever_the_secrets_are(
    secretive: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    _, reader = make_key(Scope.READ)
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    # A number; the names of an answer's own fields; what ends in the middle of an escape, or is one.
    for token in ("error", "note", "attempt", 'abc\\"', "abc\\", "\\u00e9"):
        payload = {"how": "return", "token": token, "pin": 1234567}
        for outcome in (Outcome.complete({"payload": payload, token: token}), Outcome.fail_for_good(f"no {token}")):
            queueing.enqueue(conn, [NewJob("secretive", payload)])
            [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
            claims.settle(conn, [Settlement(Fence.of(job), outcome)])

            shown = secretive.get(f"/jobs/{job.id}", headers=reader).json

            assert shown["payload"] == {"how": "return", "token": "•••", "pin": "•••"}
            assert shown["result"] is None or shown["result"]["payload"] == shown["payload"]
            assert {frozenset(error) for error in shown["errors"]} <= {
                frozenset({"attempt", "started_at", "at", "worker", "error"})
            }
            assert [error["error"] for error in shown["errors"]] == ([] if shown["result"] else ["no •••"])
