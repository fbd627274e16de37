"""GET and POST /keys, rotate and revoke; and GET /audit: who did what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import TOKEN, Scope
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.queue import claims
from haulier.queue.access import api_keys, audit_log
from haulier.queue.access.api_keys import NewKey
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey, bearer
from tests.web import EMAIL

Admin = tuple[FlaskClient, dict[str, str]]


@pytest.fixture
def admin(closed: FlaskClient, make_key: MakeKey) -> Admin:
    """Give the client of a service, and the headers of a key that may do everything."""
    return closed, make_key()[1]


def test_makes_a_key_and_shows_it_this_once(admin: Admin, conn: Connection, sql: Sql) -> None:
    client, shown = admin
    asked = {"name": "shop", "scopes": ["read", "enqueue"], "queues": ["mail"], "rate_limit": 50, "days": 1}

    made = client.post("/keys", json=asked, headers=shown)

    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    key = dict(made.json)
    token = key.pop("key")
    assert TOKEN.fullmatch(token)[1] == key["id"]  # type: ignore[index]
    assert (key["name"], key["scopes"], key["queues"], key["rate_limit"]) == (
        "shop", ["enqueue", "read"], ["mail"], 50
    )  # fmt: skip
    at = {name: datetime.fromisoformat(key[name]) for name in ("created_at", "expires_at")}
    assert at["expires_at"] - at["created_at"] == timedelta(days=1)
    assert {key[name] for name in ("last_used_at", "revoked_at", "rotated_until", "moved_to")} == {None}
    assert client.get("/jobs", headers=bearer(token)).status_code == 200
    listed, audit = client.get("/keys", headers=shown), client.get("/audit", headers=shown)
    assert {**listed.json[0], "last_used_at": None} == key
    same = ("name", "scopes", "queues", "rate_limit", "expires_at")
    assert audit.json[0]["details"] == {name: key[name] for name in same}
    secret = token.split("_", 2)[2]
    assert secret not in listed.text + audit.text
    assert not sql("SELECT FROM haulier.audit WHERE audit::text LIKE %s", f"%{secret}%")


REFUSED: list[tuple[Any, str]] = [
    ({"scopes": ["read"]}, "name"),
    *(({"name": name, "scopes": ["read"]}, "name") for name in ("", "a\nb", "x" * 101)),
    ({"name": "shop"}, "scopes"),
    *(({"name": "shop", "scopes": scopes}, "scopes") for scopes in ([], ["all"], "read")),
    *(({"name": "shop", "scopes": ["read"], "queues": queues}, "queues") for queues in ([], ["A"])),
    *(({"name": "shop", "scopes": ["read"], "rate_limit": rate}, "rate_limit") for rate in (0, True)),
    *(({"name": "shop", "scopes": ["read"], "days": days}, "days") for days in (0, 4000)),
    ({"name": "shop", "scopes": ["read"], "id": "abc"}, "id"),
    ([], "_schema"),
]


def test_refuses_a_key_that_does_not_fit_and_names_the_field(admin: Admin, conn: Connection) -> None:
    client, shown = admin

    assert not_refused(lambda body: client.post("/keys", json=body, headers=shown), REFUSED) == []
    assert len(api_keys.list_keys(conn)) == 1


def test_rotates_a_key_and_keeps_the_old_secret_for_the_given_hours(admin: Admin, conn: Connection) -> None:
    client, shown = admin
    for body, hours in ((None, 24), ({}, 24), ({"hours": 1.5}, 1.5), ({"hours": 0}, 0)):
        key, old = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="cli")

        answer = client.post(f"/keys/{key.id}/rotate", json=body, headers=shown)

        assert (answer.status_code, answer.json["id"]) == (200, key.id)
        assert answer.headers["Cache-Control"] == "no-store"
        assert client.get("/jobs", headers=bearer(answer.json["key"])).status_code == 200
        assert client.get("/jobs", headers=bearer(old)).status_code == (200 if hours else 401)
        entry = client.get("/audit", headers=shown).json[0]
        assert (entry["action"], entry["key_id"], entry["details"]["name"]) == ("rotate_key", key.id, "shop")
        until = datetime.fromisoformat(entry["details"]["rotated_until"]) - datetime.fromisoformat(entry["at"])
        assert until == timedelta(hours=hours)


def test_revokes_a_key_once(admin: Admin, conn: Connection) -> None:
    client, shown = admin
    key, token = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="cli")
    bodies = [("{}", "text/plain"), ("{", "application/json"), ('{"hours": -1}', "application/json")]

    refused = [
        client.post(f"/keys/{key.id}/rotate", data=body, content_type=content_type, headers=shown)
        for body, content_type in bodies
    ]
    before = client.get("/jobs", headers=bearer(token)).status_code
    acts = [client.post(f"/keys/{key.id}/{act}", headers=shown) for act in ("revoke", "revoke", "rotate")]

    assert ([answer.status_code for answer in refused], before) == ([415, 400, 422], 200)
    assert [answer.status_code for answer in acts] == [200, 404, 404]
    assert (acts[0].json["revoked_at"] is None, "key" in acts[0].json) == (False, False)


def test_lists_keys_newest_first_page_by_page(admin: Admin, conn: Connection, sql: Sql) -> None:
    client, shown = admin
    made = [api_keys.create(conn, NewKey(f"shop {n}", [Scope.READ]), actor="cli")[0].id for n in range(5)]
    sql("UPDATE haulier.api_key SET created_at = '2026-01-01'")
    in_order = sorted([key.id for key in api_keys.list_keys(conn)], reverse=True)

    found = [key["id"] for page in pages(client, "/keys?limit=2", shown) for key in page]

    assert found == in_order
    assert set(made) < set(found)


JOB = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
Note = Callable[..., str]


@pytest.fixture
def note(sql: Sql) -> Note:
    """Give a function that records an act that is `ago` seconds old, and returns the id of the entry."""

    def note(action: str = "cancel", *, actor: str | None = "ann", job: str = JOB, ago: int = 0) -> str:
        at = "now() - make_interval(secs => %s)"
        insert = f"INSERT INTO haulier.audit (at, actor, action, job_id) VALUES ({at}, %s, %s, %s) RETURNING id"
        return str(sql(insert, ago, actor, action, job)[0][0])

    return note


def ids(client: FlaskClient, query: str = "") -> list[str]:
    answer = client.get(f"/audit{query}")
    assert answer.status_code == 200, answer.json
    return [entry["id"] for entry in answer.json]


def test_says_who_did_what_to_which_job_key_group_and_worker(
    closed: FlaskClient, make_key: MakeKey, fail: Fail, conn: Connection
) -> None:
    (ann, by_ann), (bob, by_bob) = make_key(Scope.ADMIN), make_key(Scope.OPERATE)
    job = closed.post("/jobs", json=EMAIL, headers=by_ann).json["id"]
    fail("no luck")
    group = id_text(fingerprint("mail", "no luck").id)
    worker = claims.register(conn, host="dock", pid=8, threads=1, queues=(), lease_seconds=60)
    made, token = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="cli")
    api_keys.revoke(conn, made.id, actor="cli")

    acts = [
        closed.post(f"/jobs/{job}/cancel", headers=by_ann),
        closed.post(f"/jobs/{job}/retry", headers=by_bob),
        closed.patch(f"/errors/{group}", json={"muted_until": "2030-01-01T00:00:00Z"}, headers=by_bob),
        closed.patch(f"/workers/{worker}", json={"quiet": True}, headers=by_ann),
    ]
    answer = closed.get("/audit", headers=by_bob)

    assert [act.status_code for act in acts] == [200] * 4
    new_key = {"name": "tests", "queues": None, "rate_limit": None, "expires_at": None, "scopes": ["admin"]}
    until = {"muted_until": "2030-01-01T00:00:00.000000Z"}
    shown = [
        (each["actor"], each["action"], each["job_id"] or each["key_id"] or each["target"], each["details"])
        for each in answer.json
    ]
    assert shown == [
        (ann.id, "quiet", str(worker), None),
        (bob.id, "mute", group, until),
        (bob.id, "retry", job, None),
        (ann.id, "cancel", job, None),
        ("cli", "revoke_key", made.id, {"name": "shop"}),
        ("cli", "create_key", made.id, {**new_key, "name": "shop", "scopes": ["read"]}),
        ("test", "create_key", bob.id, {**new_key, "scopes": ["operate"]}),
        ("test", "create_key", ann.id, new_key),
    ]
    assert all(entry["id"].isdecimal() and entry["at"].endswith("Z") for entry in answer.json)
    secrets = [text.split("_", 2)[2] for text in (token, by_ann["Authorization"], by_bob["Authorization"])]
    assert not [secret for secret in secrets if secret in answer.text]


def test_filters_combine(client: FlaskClient, note: Note, sql: Sql) -> None:
    other = str(UUID(int=7))
    oldest = note(ago=300)
    retried = note("retry", ago=200)
    bobs = note(actor="bob", ago=100)
    newest = note("mute", job=other, actor=None)
    at = {entry["id"]: entry["at"] for entry in client.get("/audit").json}

    assert ids(client) == [newest, bobs, retried, oldest]
    assert ids(client, f"?job={JOB}") == [bobs, retried, oldest]
    assert ids(client, f"?job={JOB}&actor=ann") == [retried, oldest]
    assert ids(client, f"?job={JOB}&actor=ann&action=cancel") == [oldest]
    assert ids(client, "?action=retry&action=mute") == [newest, retried]
    assert ids(client, f"?after={at[oldest]}&before={at[bobs]}") == [retried]
    assert ids(client, f"?after={at[oldest]}&actor=bob") == [bobs]
    for nothing in (f"?job={other}&actor=ann", "?actor=nobody", "?target=mai"):
        assert ids(client, nothing) == []
    # A made-up cursor does no harm.
    ids(client, f"?cursor={'A' * 11}{'_' * 21}")
    made = {}
    for column, value, act in (("target", "mail", "pause"), ("target", "mailing", "pause"), ("key_id", "abc", "pause")):
        [[entry]] = sql(f"INSERT INTO haulier.audit (action, {column}) VALUES ('{act}', '{value}') RETURNING id")
        made[value] = str(entry)
    assert ids(client, "?target=mail") == ids(client, "?target=mail&action=pause") == [made["mail"]]
    assert ids(client, "?target=abc") == [made["abc"]]
    assert ids(client, "?target=mail&action=resume") == ids(client, f"?target=mail&job={JOB}") == []


def test_pages_are_whole_while_new_entries_come(client: FlaskClient, note: Note, sql: Sql) -> None:
    there = [note(ago=10 - n) for n in range(7)]
    # Three of them at the same time.
    sql("UPDATE haulier.audit SET at = now() - interval '8 s' WHERE id BETWEEN %s AND %s RETURNING 1", *there[1:4:2])

    for query in ("", f"&job={JOB}", "&actor=ann&action=cancel"):
        expected = ids(client, f"?limit=200{query}")
        first = client.get(f"/audit?limit=2{query}")
        note()
        rest = pages(client, first.headers["Link"].removeprefix("<").partition(">")[0])

        assert [entry["id"] for page in (first.json, *rest) for entry in page] == expected
    assert expected[-7:] == there[::-1]


def test_a_look_for_few_of_many_says_how_far_it_came(
    client: FlaskClient, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "LOOK_ROWS", 3)
    rare, *_ = [note(actor="rare", ago=100), *(note(ago=ago) for ago in (50, 40, 30, 20))]
    at = [entry["at"] for entry in client.get("/audit").json]

    first = client.get("/audit?actor=rare&limit=2")

    assert (first.json, first.headers["Looked-Back-To"]) == ([], at[2])
    assert [[entry["id"] for entry in page] for page in pages(client, "/audit?actor=rare&limit=2")] == [[], [rare]]
