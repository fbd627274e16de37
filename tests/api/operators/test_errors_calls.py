"""GET /errors, GET /errors/{id} and PATCH /errors/{id}: the groups of failed attempts."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import pages
from tests.http.callers import MakeKey


def ago(sql: Sql, error: str, interval: str, kind: str = "mail") -> None:
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


def test_finds_by_kind_queue_and_text_page_by_page(client: FlaskClient, fail: Fail) -> None:
    fail("Refused: by a"), fail("timed out", kind="hook"), fail("lost", queue="bulk")

    assert texts(client, "?kind=hook") == ["timed out"]
    assert texts(client, "?queue=bulk") == ["lost"]
    assert texts(client, "?text=REFUSED") == ["Refused: by a"]
    assert texts(client, "?text=%25") == texts(client, "?kind=other") == []
    found = [[group["text"] for group in page] for page in pages(client, "/errors?limit=1&kind=mail")]
    assert found == [[text] for text in texts(client, "?kind=mail")]
    assert len(found) == 2


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
    by = sql("SELECT muted_by FROM haulier.error_group")
    loud = closed.patch(f"/errors/{error_id}", json={"muted_until": None}, headers=headers)

    assert (muted.status_code, muted.json["muted_until"], muted.json["failed"]) == (200, until, 1)
    assert (by, loud.json["muted_until"]) == ([(key.id,)], None)
    acts = sql("SELECT actor, action, target FROM haulier.audit WHERE target = %s ORDER BY id", error_id)
    assert acts == [(key.id, "mute", error_id), (key.id, "unmute", error_id)]


def test_shows_little_once_the_job_that_names_the_secrets_is_gone(
    secretive: FlaskClient, make_key: MakeKey, fail: Fail, sql: Sql
) -> None:
    fail("Denied: refused token tok-hunter2", kind="secretive", payload={"how": "raise", "token": "tok-hunter2"})
    sql("DELETE FROM haulier.finished_job")
    _, reader = make_key(Scope.READ)

    [listed] = secretive.get("/errors", headers=reader).json
    got = secretive.get(f"/errors/{listed['id']}", headers=reader).json

    assert [(group["text"], group["example"]) for group in (listed, got)] == [("Denied: …", None)] * 2


def test_finds_no_group_by_a_secret_in_its_example(secretive: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    fail("Denied: 47114711", kind="secretive", payload={"how": "raise", "token": "47114711"})

    found = [
        secretive.get("/errors?text=47114711", headers=make_key(each)[1]).json for each in (Scope.READ, Scope.ADMIN)
    ]

    assert [len(groups) for groups in found] == [0, 1]
