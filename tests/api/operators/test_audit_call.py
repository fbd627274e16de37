"""GET /audit: who did what."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.act import Act
from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.queue import claims
from haulier.queue.access import api_keys, audit_log
from haulier.queue.access.api_keys import NewKey
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.web import EMAIL

JOB = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
Note = Callable[..., str]


@pytest.fixture
def note(sql: Sql) -> Note:
    """Give a function that records an act that is `ago` seconds old, and returns the id of the entry."""

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
    rare = note(actor="rare", ago=100)
    for ago in (50, 40, 30, 20):
        note(ago=ago)
    at = [entry["at"] for entry in client.get("/audit").json]

    first = client.get("/audit?actor=rare&limit=2")
    second = client.get(first.headers["Link"].partition(">")[0][1:])

    assert (first.json, first.headers["Looked-Back-To"]) == ([], at[2])
    assert [entry["id"] for entry in second.json] == [rare]
    assert "Next-Cursor" not in second.headers


def test_is_for_a_key_of_every_queue(closed: FlaskClient, make_key: MakeKey) -> None:
    _, limited = make_key(Scope.OPERATE, queues=["mail"])
    _, reader = make_key(Scope.READ)

    answers = [closed.get("/audit", headers=headers) for headers in (limited, reader, {})]

    assert [answer.status_code for answer in answers] == [403, 403, 401]
    assert "every queue" in answers[0].json["message"]


def test_refuses_a_query_that_does_not_fit_and_names_the_field(client: FlaskClient) -> None:
    too_long = "x" * 201
    rows = [
        ("job=x", "job"),
        (f"job={JOB}&job={JOB}", "job"),
        *((f"{name}={value}", name) for name in ("actor", "target") for value in ("", "a%00b", too_long)),
        ("action=create", "action"),
        ("action=cancel&action=CANCEL", "action"),
        ("&".join(["action=cancel"] * (len(Act) + 1)), "action"),
        ("after=yesterday", "after"),
        ("before=2026-01-01", "before"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("queue=mail", "queue"),
    ]

    assert not_refused(lambda query: client.get(f"/audit?{query}"), rows) == []


def test_a_made_up_cursor_does_no_harm(client: FlaskClient, note: Note) -> None:
    note()

    cursors = ["A" + "_" * 31, "A" * 32, "A" * 11 + "_" * 21]

    assert [client.get(f"/audit?cursor={cursor}").status_code for cursor in cursors] == [200] * 3
