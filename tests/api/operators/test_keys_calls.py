"""GET and POST /keys, rotate and revoke."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import keyring
from haulier.domain.api_key import TOKEN, Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey, bearer


@pytest.fixture
def admin(closed: FlaskClient, make_key: MakeKey) -> tuple[FlaskClient, dict[str, str]]:
    """Give the client of a service, and the headers of a key that may do everything."""
    return closed, make_key()[1]


Admin = tuple[FlaskClient, dict[str, str]]


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
    assert (key["last_used_at"], key["revoked_at"], key["rotated_until"]) == (None, None, None)
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


def test_refuses_hours_that_do_not_fit(admin: Admin, conn: Connection) -> None:
    client, shown = admin
    key, old = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="cli")

    answers = [
        client.post(f"/keys/{key.id}/rotate", json={"hours": -1}, headers=shown),
        client.post(f"/keys/{key.id}/rotate", data="{}", content_type="text/plain", headers=shown),
        client.post(f"/keys/{key.id}/rotate", data="{", content_type="application/json", headers=shown),
    ]

    assert [answer.status_code for answer in answers] == [422, 415, 400]
    assert client.get("/jobs", headers=bearer(old)).status_code == 200


def test_revokes_a_key_once(admin: Admin, conn: Connection) -> None:
    client, shown = admin
    key, token = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="cli")

    revoked, again, rotated = (
        client.post(f"/keys/{key.id}/{act}", headers=shown) for act in ("revoke", "revoke", "rotate")
    )

    assert (revoked.status_code, revoked.json["revoked_at"] is None) == (200, False)
    assert "key" not in revoked.json
    assert [answer.status_code for answer in (again, rotated)] == [404, 404]
    assert client.get("/jobs", headers=bearer(token)).status_code == 401


def test_a_key_that_is_not_there_is_404(admin: Admin) -> None:
    client, shown = admin
    ids = ("x" * 12, "X", "x" * 33, "a%20b", "%27", "9" * 3000)

    answers = [client.post(f"/keys/{key}/{act}", headers=shown) for key in ids for act in ("rotate", "revoke")]

    assert {answer.status_code for answer in answers} == {404}


def test_lists_keys_newest_first_page_by_page(admin: Admin, conn: Connection, sql: Sql) -> None:
    client, shown = admin
    made = [api_keys.create(conn, NewKey(f"shop {n}", [Scope.READ]), actor="cli")[0].id for n in range(5)]
    sql("UPDATE haulier.api_key SET created_at = '2026-01-01'")
    in_order = sorted([key.id for key in api_keys.list_keys(conn)], reverse=True)

    found = [key["id"] for page in pages(client, "/keys?limit=2", shown) for key in page]

    assert found == in_order
    assert set(made) < set(found)


def test_a_key_of_some_queues_makes_none(closed: FlaskClient, make_key: MakeKey) -> None:
    _, limited = make_key(Scope.ADMIN, queues=["mail"])

    answers = [
        closed.get("/keys", headers=limited),
        closed.post("/keys", json={"name": "shop", "scopes": ["admin"]}, headers=limited),
    ]

    assert [(answer.status_code, answer.json["error"]) for answer in answers] == [(403, "forbidden")] * 2


def test_the_first_key_closes_a_service_that_needed_none(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # For up to 5 s a process goes on as it was.
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)

    made = client.post("/keys", json={"name": "first", "scopes": ["admin"]})

    assert made.status_code == 201
    assert client.get("/keys").status_code == 401
    assert client.get("/keys", headers=bearer(made.json["key"])).status_code == 200
