"""GET /audit: who did what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.act import Act
from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.queue import consume
from haulier.queue.access import api_keys, audit
from haulier.queue.access.api_keys import NewKey
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.callers import MakeKey, closed, make_key, public  # noqa: F401  # fixtures
from tests.web import EMAIL

JOB = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
Note = Callable[..., str]


@pytest.fixture
def note(sql: Sql) -> Note:
    """Give a function that records an act of so many seconds ago, and returns the id of the entry."""

    def note(action: str = "cancel", *, actor: str | None = "ann", job: str = JOB, ago: int = 0) -> str:
        [[entry]] = sql(
            "INSERT INTO haulier.audit (at, actor, action, job_id)"
            " VALUES (now() - make_interval(secs => %s), %s, %s, %s) RETURNING id",
            ago, actor, action, job,
        )  # fmt: skip
        return str(entry)

    return note


def ids(client: FlaskClient, query: str = "") -> list[str]:
    answer = client.get(f"/audit{query}")
    assert answer.status_code == 200, answer.json
    return [entry["id"] for entry in answer.json]


def test_says_who_did_what_to_which_job_key_group_and_worker(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    fail: Fail,
    conn: Connection,
) -> None:
    (ann, by_ann), (bob, by_bob) = make_key(Scope.ADMIN), make_key(Scope.OPERATE)
    job = closed.post("/jobs", json=EMAIL, headers=by_ann).json["id"]
    fail("no luck")
    group = id_text(fingerprint("mail", "no luck").id)
    worker = consume.register(conn, host="dock", pid=8, threads=1, queues=(), lease_seconds=60)
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
    shown = [{name: value for name, value in entry.items() if name not in ("id", "at")} for entry in answer.json]
    nothing = {"job_id": None, "key_id": None, "target": None, "details": None}
    made_by_tests = {"name": "tests", "queues": None, "rate_limit": None, "expires_at": None}
    of_ann, of_bob = {**made_by_tests, "scopes": ["admin"]}, {**made_by_tests, "scopes": ["operate"]}
    assert shown == [
        {**nothing, "actor": ann.id, "action": "quiet", "target": str(worker)},
        {
            **nothing,
            "actor": bob.id,
            "action": "mute",
            "target": group,
            "details": {"muted_until": "2030-01-01T00:00:00.000000Z"},
        },
        {**nothing, "actor": bob.id, "action": "retry", "job_id": job},
        {**nothing, "actor": ann.id, "action": "cancel", "job_id": job},
        {**nothing, "actor": "cli", "action": "revoke_key", "key_id": made.id, "details": {"name": "shop"}},
        {
            **nothing,
            "actor": "cli",
            "action": "create_key",
            "key_id": made.id,
            "details": {**made_by_tests, "name": "shop", "scopes": ["read"]},
        },
        {**nothing, "actor": "test", "action": "create_key", "key_id": bob.id, "details": of_bob},
        {**nothing, "actor": "test", "action": "create_key", "key_id": ann.id, "details": of_ann},
    ]
    assert all(entry["id"].isdecimal() and entry["at"].endswith("Z") for entry in answer.json)
    secrets = [text.split("_", 2)[2] for text in (token, by_ann["Authorization"], by_bob["Authorization"])]
    assert not [secret for secret in secrets if secret in answer.text]


def test_filters_combine(client: FlaskClient, note: Note) -> None:
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
    assert ids(client, f"?job={other}&actor=ann") == ids(client, "?actor=nobody") == []


def test_finds_what_was_done_to_a_queue_or_a_key(client: FlaskClient, note: Note, sql: Sql) -> None:
    note()
    made = {}
    for column, value in (("target", "mail"), ("target", "mailing"), ("target", "mail"), ("key_id", "abcdefabcdef")):
        [[entry]] = sql(
            f"INSERT INTO haulier.audit (actor, action, {column}) VALUES ('ann', 'pause', %s) RETURNING id", value
        )
        made.setdefault(value, []).insert(0, str(entry))
    sql("UPDATE haulier.audit SET action = 'resume' WHERE id = %s RETURNING 1", made["mail"][0])

    assert ids(client, "?target=mail") == made["mail"]
    assert ids(client, "?target=abcdefabcdef") == made["abcdefabcdef"]
    assert ids(client, "?target=mail&action=pause") == made["mail"][1:]
    assert ids(client, f"?target=mail&job={JOB}") == ids(client, "?target=mai") == []


@pytest.mark.parametrize("query", ["", f"&job={JOB}", "&actor=ann&action=cancel"])
def test_pages_are_whole_and_without_repeats_while_new_entries_come(
    client: FlaskClient, note: Note, sql: Sql, query: str
) -> None:
    there = [note(ago=10 - n) for n in range(7)]
    # Three of them at the same time.
    sql("UPDATE haulier.audit SET at = now() - interval '8 s' WHERE id BETWEEN %s AND %s RETURNING 1", *there[1:4:2])

    found, link = [], f"/audit?limit=2{query}"
    while link:
        page = client.get(link)
        assert ("Link" in page.headers) == ("Next-Cursor" in page.headers)
        assert "Looked-Back-To" not in page.headers
        found += [entry["id"] for entry in page.json]
        link = page.headers.get("Link", "").partition(">")[0][1:]
        note()

    assert found == there[::-1]


def test_a_look_for_few_of_many_says_how_far_it_came(
    client: FlaskClient, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOK_ROWS", 3)
    rare = note(actor="rare", ago=100)
    for ago in (50, 40, 30, 20):
        note(ago=ago)
    at = [entry["at"] for entry in client.get("/audit").json]

    first = client.get("/audit?actor=rare&limit=2")
    second = client.get(first.headers["Link"].partition(">")[0][1:])

    assert (first.json, first.headers["Looked-Back-To"]) == ([], at[2])
    assert [entry["id"] for entry in second.json] == [rare]
    assert "Next-Cursor" not in second.headers


def test_is_for_a_key_of_every_queue(closed: FlaskClient, make_key: MakeKey) -> None:  # noqa: F811
    _, limited = make_key(Scope.OPERATE, queues=["mail"])
    _, reader = make_key(Scope.READ)

    answers = [closed.get("/audit", headers=headers) for headers in (limited, reader, {})]

    assert [answer.status_code for answer in answers] == [403, 403, 401]
    assert "every queue" in answers[0].json["message"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("job=x", "job"),
        (f"job={JOB}&job={JOB}", "job"),
        ("actor=", "actor"),
        ("actor=a%00b", "actor"),
        (f"actor={'x' * 201}", "actor"),
        ("target=", "target"),
        ("target=a%00b", "target"),
        (f"target={'x' * 201}", "target"),
        ("target=mail&target=mail", "target"),
        ("action=create", "action"),
        ("action=cancel&action=CANCEL", "action"),
        ("&".join(["action=cancel"] * (len(Act) + 1)), "action"),
        ("after=yesterday", "after"),
        ("before=2026-01-01", "before"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("queue=mail", "queue"),
    ],
)
def test_refuses_a_query_that_does_not_fit_and_names_the_field(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/audit?{query}")

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert set(answer.json["details"]) == {field}


@pytest.mark.parametrize("end", ["_" * 31, "A" * 31, "A" * 10 + "_" * 21])
def test_a_cursor_that_nobody_was_given_is_harmless(client: FlaskClient, note: Note, end: str) -> None:
    note()

    answer: Any = client.get(f"/audit?cursor=A{end}")

    assert answer.status_code == 200
