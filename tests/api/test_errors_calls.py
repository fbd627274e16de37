"""GET /errors, GET /errors/{id} and PATCH /errors/{id}: the groups of failed attempts."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.callers import MakeKey, closed, make_key, public  # noqa: F401  # fixtures


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

    first = client.get("/errors?limit=2&kind=mail")
    found, link = [*first.json], first.headers["Link"]
    while link:
        page = client.get(link.partition(">")[0][1:])
        found += page.json
        link = page.headers.get("Link", "")

    assert sorted(group["text"] for group in found) == sorted(words)
    assert [group["id"] for group in found] == [group["id"] for group in client.get("/errors").json]


def test_a_key_of_some_queues_sees_their_counts_and_examples_alone(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    fail: Fail,
) -> None:
    fail("shared 1", queue="bulk"), fail("shared 2", queue="mail"), fail("hidden", queue="bulk")
    own = fail("own", queue="mail")
    _, headers = make_key(Scope.READ, queues=["mail"])

    found = {group["text"]: group for group in closed.get("/errors", headers=headers).json}

    assert found.keys() == {"shared …", "own"}
    assert (found["shared …"]["failed"], found["shared …"]["example"], found["shared …"]["example_job"]) == (
        1,
        None,
        None,
    )
    assert (found["own"]["example"], found["own"]["example_job"]) == ("own", str(own.id))
    hidden = id_text(fingerprint("mail", "hidden").id)
    assert closed.get(f"/errors/{hidden}", headers=headers).status_code == 404
    assert closed.get(f"/errors/{found['own']['id']}", headers=headers).json["failed"] == 1


def test_mutes_and_unmutes_and_the_record_says_who(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    fail: Fail,
    sql: Sql,
) -> None:
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


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("/errors/0123456789abcdef", {"muted_until": None}, 404),
        ("/errors/0123456789ABCDEF", {"muted_until": None}, 404),
        ("/errors/1", {"muted_until": None}, 404),
        ("/errors/0123456789abcdef", {}, 422),
        ("/errors/0123456789abcdef", {"muted_until": "soon"}, 422),
        ("/errors/0123456789abcdef", {"muted_until": None, "more": 1}, 422),
    ],
)
def test_refuses_what_does_not_fit(client: FlaskClient, call: str, body: Any, status: int) -> None:
    assert client.patch(call, json=body).status_code == status


@pytest.mark.parametrize("query", ["span=2h", "text=", f"text={'x' * 201}", "text=a%00b", "cursor=x", "status=failed"])
def test_refuses_a_query_that_does_not_fit(client: FlaskClient, query: str) -> None:
    assert client.get(f"/errors?{query}").status_code == 422


def test_the_record_tells_an_unmute_from_a_mute(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    fail("no luck")
    path = f"/errors/{id_text(fingerprint('mail', 'no luck').id)}"

    client.patch(path, json={"muted_until": "2030-01-01T00:00:00Z"})
    client.patch(path, json={"muted_until": None})

    assert sql("SELECT action FROM haulier.audit ORDER BY id") == [("mute",), ("unmute",)]
