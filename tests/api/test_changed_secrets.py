"""Secret fields of a job that is changed, queued again or copied: they are kept, and told nobody."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.conftest import Sql
from tests.http.callers import MakeKey, make_key  # noqa: F401  # fixture

SECRETS = {"how": "return", "token": "tok-hunter2", "logins": [{"user": "ann", "password": "pass-hunter2"}]}
MASKED = {"how": "return", "token": "•••", "logins": [{"user": "ann", "password": "•••"}]}


@pytest.fixture
def operator(make_key: MakeKey) -> dict[str, str]:  # noqa: F811
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


@pytest.mark.parametrize("act", ["change", "retry", "copy"])
def test_keeps_the_secrets_that_come_back_masked(
    secretive: FlaskClient, secret_job: str, operator: dict[str, str], sql: Sql, act: str
) -> None:
    if act == "retry":
        secretive.post(f"{secret_job}/cancel", headers=operator)
    body = {"payload": {**secretive.get(secret_job, headers=operator).json["payload"], "how": "raise"}}

    if act == "change":
        answer = secretive.patch(secret_job, json=body, headers=operator)
    else:
        answer = secretive.post(f"{secret_job}/{act}", json=body, headers=operator)

    assert answer.status_code in (200, 201), answer.json
    assert answer.json["payload"] == {**MASKED, "how": "raise"}
    assert stored(sql, answer.json["id"]) == {**SECRETS, "how": "raise"}
    [[record]] = sql("SELECT details::text FROM haulier.audit WHERE action = %s", act)
    assert "hunter2" not in record
    assert record.count("•••") == 4


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"logins": [{"user": "bob", "password": "•••"}]}, {"logins": {"0": {"password"}}}),
        ({"logins": []}, None),
        ({"logins": MASKED["logins"] * 2}, {"logins": {"0": {"password"}}}),
        ({"login": {"user": "ann", "password": "•••"}}, {"login": {"password"}}),
        ({"keys": {"one": "•••"}}, {"keys": {"one"}}),
    ],
)
def test_refuses_a_mask_that_stands_for_nothing(
    secretive: FlaskClient, secret_job: str, operator: dict[str, str], sql: Sql, change: Any, place: Any
) -> None:
    answer = secretive.patch(secret_job, json={"payload": {**MASKED, **change}}, headers=operator)

    assert answer.status_code == (200 if place is None else 422)
    if place is not None:
        assert "Hides no secret" in answer.text
        assert set(answer.json["details"]["payload"]) == set(place)
        assert stored(sql, secret_job.removeprefix("/jobs/")) == SECRETS


def test_tells_no_kept_secret_in_an_error(
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


def test_masks_in_the_record_what_a_kind_calls_secret_now(
    secretive: FlaskClient,
    make_key: MakeKey,  # noqa: F811
    operator: dict[str, str],
    sql: Sql,
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
