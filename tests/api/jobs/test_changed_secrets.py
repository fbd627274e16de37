"""Secret fields of a job that is changed, queued again or copied: they are kept, and not shown."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.conftest import Sql
from tests.http.answers import not_refused
from tests.http.callers import MakeKey

SECRETS = {"how": "return", "token": "tok-hunter2", "logins": [{"user": "ann", "password": "pass-hunter2"}]}
MASKED = {"how": "return", "token": "•••", "logins": [{"user": "ann", "password": "•••"}]}


@pytest.fixture
def operator(make_key: MakeKey) -> dict[str, str]:
    """Give the headers of a key that may not see secrets."""
    return make_key(Scope.ENQUEUE, Scope.READ, Scope.OPERATE)[1]


@pytest.fixture
def secret_job(secretive: FlaskClient, operator: dict[str, str]) -> str:
    """Give the path of a job with secrets."""
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
    assert "Hides no secret" in change(rows[0][0]).text
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
