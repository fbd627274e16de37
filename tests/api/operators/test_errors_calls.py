"""GET /errors, GET /errors/{id} and PATCH /errors/{id}: the groups of failed attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey


def ago(sql: Sql, error: str, interval: str, kind: str = "mail") -> None:
    """Let all of an error have been so long ago."""
    number = fingerprint(kind, error).id
    sql("UPDATE haulier.error_count SET minute = minute - %s::interval WHERE error_id = %s", interval, number)
    sql("UPDATE haulier.error_group SET first_seen = first_seen - %s::interval WHERE id = %s", interval, number)


def texts(client: FlaskClient, query: str = "", **options: Any) -> list[str]:
    answer = client.get(f"/errors{query}", **options)
    assert answer.status_code == 200, answer.json
    return [group["text"] for group in answer.json]


def test_says_of_a_group_how_often_and_when_it_was_seen(client: FlaskClient, fail: Fail) -> None:
    first = fail("no luck 1")
    fail("no luck 2", for_good=False)
    fail("no luck 3", queue="bulk")

    [shown] = client.get("/errors?span=1h").json

    times, series = [shown.pop(name) for name in ("first_seen", "last_seen")], shown.pop("series")
    assert shown == {
        "id": id_text(fingerprint("mail", "no luck 1").id),
        "kind": "mail",
        "text": "no luck …",
        "example": "no luck 1",
        "example_job": str(first.id),
        "failed": 2,
        "retried": 1,
        "muted_until": None,
    }
    assert times == sorted(times)
    assert len(series) == 60
    assert [(step["failed"], step["retried"]) for step in series if step["failed"]] == [(2, 1)]
    assert client.get(f"/errors/{shown['id']}?span=1h").json == {
        **shown, "first_seen": times[0], "last_seen": times[1], "series": series,
        "queues": [
            {"queue": "default", "failed": 1, "retried": 1}, {"queue": "bulk", "failed": 1, "retried": 0}
        ],
    }  # fmt: skip


def test_lists_those_seen_in_the_span_last_seen_first(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    for text in ("new", "old", "older"):
        fail(text)
    ago(sql, "old", "2 hours")
    ago(sql, "older", "3 days")

    assert texts(client, "?span=1h") == ["new"]
    assert texts(client) == texts(client, "?span=24h") == ["new", "old"]
    assert texts(client, "?span=7d") == ["new", "old", "older"]


def test_finds_by_kind_queue_and_text(client: FlaskClient, fail: Fail) -> None:
    fail("Refused: by a"), fail("timed out", kind="hook"), fail("lost", queue="bulk")

    assert texts(client, "?kind=hook") == ["timed out"]
    assert texts(client, "?queue=bulk") == ["lost"]
    assert texts(client, "?text=REFUSED") == ["Refused: by a"]
    assert texts(client, "?text=%25") == texts(client, "?kind=other") == []


def test_pages_follow_one_another(client: FlaskClient, fail: Fail) -> None:
    words = [f"error {'x' * number}" for number in range(1, 6)]
    for word in words:
        fail(word)

    found = [group for page in pages(client, "/errors?limit=2&kind=mail") for group in page]

    assert sorted(group["text"] for group in found) == sorted(words)
    assert [group["id"] for group in found] == [group["id"] for group in client.get("/errors").json]


def test_a_key_of_some_queues_sees_only_their_counts(closed: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    fail("shared 1", queue="bulk"), fail("shared 2", queue="mail"), fail("hidden", queue="bulk")
    own = fail("own", queue="mail")
    _, headers = make_key(Scope.READ, queues=["mail"])

    found = {group["text"]: group for group in closed.get("/errors", headers=headers).json}

    assert found.keys() == {"shared …", "own"}
    shared = found["shared …"]
    assert (shared["failed"], shared["example"], shared["example_job"]) == (1, None, None)
    assert (found["own"]["example"], found["own"]["example_job"]) == ("own", str(own.id))
    hidden = id_text(fingerprint("mail", "hidden").id)
    assert closed.get(f"/errors/{hidden}", headers=headers).status_code == 404
    assert closed.get(f"/errors/{found['own']['id']}", headers=headers).json["failed"] == 1


def test_mutes_and_unmutes_and_records_who_did(closed: FlaskClient, make_key: MakeKey, fail: Fail, sql: Sql) -> None:
    fail("no luck")
    error_id = id_text(fingerprint("mail", "no luck").id)
    key, headers = make_key(Scope.OPERATE)
    until = "2027-01-02T03:04:05.000000Z"

    muted = closed.patch(f"/errors/{error_id}", json={"muted_until": until}, headers=headers)
    record = sql("SELECT actor, action, target FROM haulier.audit WHERE action = 'mute'")
    by = sql("SELECT muted_by FROM haulier.error_group")
    loud = closed.patch(f"/errors/{error_id}", json={"muted_until": None}, headers=headers)

    assert (muted.status_code, muted.json["muted_until"], muted.json["failed"]) == (200, until, 1)
    assert by == [(record[0][0],)]
    assert record == [(record[0][0], "mute", error_id)]
    assert record[0][0] is not None
    assert loud.json["muted_until"] is None
    _, limited = make_key(Scope.OPERATE, queues=["default"])
    assert closed.patch(f"/errors/{error_id}", json={"muted_until": None}, headers=limited).status_code == 403


def test_refuses_a_mute_of_no_group_or_without_an_end(client: FlaskClient) -> None:
    path = "/errors/0123456789abcdef"
    bodies = [({}, "muted_until"), ({"muted_until": "soon"}, "muted_until"), ({"muted_until": None, "more": 1}, "more")]

    missing = [
        client.patch(each, json={"muted_until": None}) for each in (path, "/errors/0123456789ABCDEF", "/errors/1")
    ]

    assert not_refused(lambda body: client.patch(path, json=body), bodies) == []
    assert [answer.status_code for answer in missing] == [404] * 3


def test_refuses_a_query_that_does_not_fit(client: FlaskClient) -> None:
    rows = [("span=2h", "span"), *((f"text={value}", "text") for value in ("", "x" * 201, "a%00b"))]
    rows += [("cursor=x", "cursor"), ("status=failed", "status")]

    assert not_refused(lambda query: client.get(f"/errors?{query}"), rows) == []


def test_the_record_distinguishes_an_unmute_from_a_mute(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    fail("no luck")
    path = f"/errors/{id_text(fingerprint('mail', 'no luck').id)}"

    client.patch(path, json={"muted_until": "2030-01-01T00:00:00Z"})
    client.patch(path, json={"muted_until": None})

    assert sql("SELECT action FROM haulier.audit ORDER BY id") == [("mute",), ("unmute",)]


# As a worker stored it that did not know yet that the field is secret, or that had it from a child that was taken over.
ERROR = "Denied: refused token tok-hunter2"
GROUP = fingerprint("secretive", ERROR)
PATHS = ("/errors", f"/errors/{id_text(GROUP.id)}")
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(secretive: FlaskClient, make_key: MakeKey, fail: Fail) -> Ask:
    """Give a function that asks for the group of a job that has failed with such an error."""
    fail(ERROR, kind="secretive", payload={"how": "raise", "token": "tok-hunter2"})

    def ask(path: str, scope: Scope = Scope.READ) -> dict[str, Any]:
        _, headers = make_key(scope)
        answer = secretive.get(path, headers=headers)
        assert answer.status_code == 200, answer.json
        [group] = answer.json if isinstance(answer.json, list) else [answer.json]
        return dict(group)

    return ask


def test_are_masked_as_the_errors_of_their_jobs_are(ask: Ask) -> None:
    for path in PATHS:
        masked, whole = ask(path), ask(path, Scope.ADMIN)

        assert (masked["text"], masked["example"]) == ("Denied: refused token •••", "Denied: refused token •••")
        assert (whole["text"], whole["example"]) == (GROUP.text, ERROR)


def test_show_little_once_the_job_that_names_the_secrets_is_gone(ask: Ask, sql: Sql) -> None:
    sql("DELETE FROM haulier.finished_job")

    for path in PATHS:
        group = ask(path)

        assert (group["text"], group["example"]) == ("Denied: …", None)


def test_finds_no_group_by_a_secret_in_its_example(secretive: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    fail("Denied: 47114711", kind="secretive", payload={"how": "raise", "token": "47114711"})

    found = [
        secretive.get("/errors?text=47114711", headers=make_key(each)[1]).json for each in (Scope.READ, Scope.ADMIN)
    ]

    assert [len(groups) for groups in found] == [0, 1]


def test_masks_each_group_by_its_own_job(
    secretive: FlaskClient, make_key: MakeKey, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.masking.JOBS_AT_ONCE", 2)
    secrets = ["alpha", "beta", "gamma"]
    for secret in secrets:
        fail(f"Denied{secret.title()}: {secret}", kind="secretive", payload={"how": "raise", "token": secret})

    found = secretive.get("/errors", headers=make_key(Scope.READ)[1]).json

    assert sorted(each["example"] for each in found) == ["DeniedAlpha: •••", "DeniedBeta: •••", "DeniedGamma: •••"]
