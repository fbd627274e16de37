"""POST /queues/{name}/pause and /resume: what an operator says of a queue, and what it then shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from tests.conftest import Sql
from tests.http.answers import not_refused
from tests.http.callers import MakeKey
from tests.web import EMAIL

SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def state(queue: dict[str, Any]) -> tuple[bool, str | None]:
    return queue["paused"], queue["paused_until"]


def test_a_pause_without_an_end_is_shown_until_the_resume(client: FlaskClient) -> None:
    for body in ({}, {"json": {}}, {"json": {"until": None}}):
        paused = client.post("/queues/mail/pause", **body)
        shown, listed = client.get("/queues/mail"), client.get("/queues")
        resumed = client.post("/queues/mail/resume")

        assert (paused.status_code, state(paused.json)) == (200, (True, None))
        assert (shown.json, listed.json) == (paused.json, [paused.json])
        assert (resumed.status_code, state(resumed.json)) == (200, (False, None))
        assert (resumed.json["name"], resumed.json["waiting"]) == ("mail", None)
        assert client.get("/queues/mail").status_code == 404


def test_a_pause_shows_its_end_and_a_new_one_changes_it(client: FlaskClient) -> None:
    until = datetime.now(UTC).replace(microsecond=250) + timedelta(hours=1)

    first = client.post("/queues/mail/pause", json={"until": until.isoformat()})
    second = client.post("/queues/mail/pause", json={"until": SOON})
    third = client.post("/queues/mail/pause")

    assert state(first.json) == (True, f"{until:%Y-%m-%dT%H:%M:%S}.000250Z")
    assert state(second.json)[1] != state(first.json)[1]
    assert state(third.json) == (True, None)


def test_a_pause_that_has_ended_is_none(client: FlaskClient, sql: Sql) -> None:
    client.post("/queues/mail/pause", json={"until": SOON})
    sql("UPDATE haulier.pause SET until = now()")

    assert client.get("/queues").json == []
    assert client.get("/queues/mail").status_code == 404


def test_refuses_an_end_that_does_not_fit(client: FlaskClient) -> None:
    rows = [({"until": value}, "until") for value in ("2020-01-01T00:00:00Z", "tomorrow")] + [
        ({"untill": SOON}, "untill")
    ]

    other_type = client.post("/queues/mail/pause", data="until=now", content_type="text/plain")

    assert not_refused(lambda body: client.post("/queues/mail/pause", json=body), rows) == []
    assert (other_type.status_code, client.get("/queues").json) == (415, [])


def test_a_name_that_no_queue_can_have_is_not_found(client: FlaskClient) -> None:
    for name in ("Mail", "*", "a%20b", "a" * 65, "%00"):
        answers = [client.post(f"/queues/{name}/{verb}") for verb in ("pause", "resume")]

        assert [(answer.status_code, answer.json["error"]) for answer in answers] == [(404, "not_found")] * 2


def test_the_resume_of_a_queue_that_is_not_paused_does_nothing(client: FlaskClient, sql: Sql) -> None:
    answer = client.post("/queues/mail/resume")

    assert (answer.status_code, state(answer.json)) == (200, (False, None))
    assert sql("SELECT count(*) FROM haulier.audit") == [(0,)]


def test_more_than_a_thousand_are_a_conflict(client: FlaskClient, sql: Sql) -> None:
    sql("INSERT INTO haulier.pause (queue) SELECT 'q' || n FROM generate_series(1, 1000) AS n")

    answer = client.post("/queues/mail/pause")

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")


def test_a_key_of_some_queues_pauses_only_these(closed: FlaskClient, make_key: MakeKey, sql: Sql) -> None:
    key, operator = make_key(Scope.OPERATE, queues=["mail"])

    answers = {
        (name, verb): closed.post(f"/queues/{name}/{verb}", headers=operator).status_code
        for name in ("mail", "other")
        for verb in ("pause", "resume")
    }

    assert answers == {(name, verb): 200 if name == "mail" else 404 for name, verb in answers}
    acts = sql("SELECT actor, action FROM haulier.audit WHERE target = 'mail' ORDER BY id")
    assert acts == [(key.id, "pause"), (key.id, "resume")]


def test_accepts_a_job_of_a_paused_queue_and_explains_the_wait(client: FlaskClient) -> None:
    client.post("/queues/mail/pause", json={"until": SOON})

    created = client.post("/jobs", json={**EMAIL, "queue": "mail"})
    reasons = client.get(f"{created.headers['Location']}/explain").json["reasons"]

    assert created.status_code == 201
    [paused] = [reason for reason in reasons if reason["code"] == "queue_paused"]
    assert (paused["since"] is not None, paused["link"]) == (True, "/queues/mail")
    assert datetime.fromisoformat(paused["until"]) == datetime.fromisoformat(SOON)
