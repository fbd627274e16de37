"""What is a good key and what is none, for how long, and what it costs to look: a key ..."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import keyring
from haulier.config import Config
from haulier.domain.api_key import Scope, hash_of
from haulier.queue.access import api_keys
from lab.proxy import proxy_to
from tests.conftest import eventually
from tests.http.callers import SECRET, MakeApp, MakeKey, Statements, bearer, door_of
from tests.patience import last_in_vain
from tests.web import EMAIL


def test_what_is_not_a_good_key_is_401(make_app: MakeApp, public: Config) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    headers = ["", "Bearer", "Bearer ", "Basic aGxyOmhscg==", f"Basic {SECRET}", f"Token {SECRET}", SECRET]
    headers += [f"Bearer {text}" for text in (SECRET[:-1], f"{SECRET}x", SECRET.upper(), f"{SECRET}, Bearer {SECRET}")]
    headers += [f"Bearer hlr_{name}_{'x' * 43}" for name in ("abcdefghijkl", "env")]
    headers += [f"Bearer {text}" for text in ("x" * 5000, "é", "hlr_%_%")]
    shown = [{"Authorization": header} for header in headers] + [{"X-Api-Key": SECRET}]

    for each in shown:
        answer = client.get("/jobs", query_string={"key": SECRET}, headers=each)

        assert (answer.status_code, answer.json["error"]) == (401, "unauthorized"), each
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_first_key_may_do_everything(make_app: MakeApp, public: Config) -> None:
    client = make_app(replace(public, haulier_api_key=SECRET)).test_client()
    for scheme in ("Bearer", "bearer", "BEARER"):
        shown = {"Authorization": f"{scheme} {SECRET}"}

        job = client.post("/jobs", json=EMAIL, headers=shown).headers["Location"]
        answers = [client.get(path, headers=shown) for path in ("/jobs", job, "/kinds", "/metrics")]
        answers += [client.post(f"{job}/{verb}", headers=shown) for verb in ("cancel", "retry")]

        assert [answer.status_code for answer in answers] == [200] * 6


def test_a_revoked_key_is_taken_briefly_and_an_expired_one_never(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The 5 s that docs/api.md promises take a test too long.
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 1.0)
    (key, shown), (_, expired) = make_key(), make_key(lifetime=timedelta(seconds=-1))
    assert [closed.get("/jobs", headers=headers).status_code for headers in (shown, expired)] == [200, 401]

    api_keys.revoke(conn, key.id, actor="test")

    assert 0 < last_in_vain(lambda: closed.get("/jobs", headers=shown).status_code == 401) < 1
    why = closed.get("/jobs", headers=shown).headers["WWW-Authenticate"]
    assert why == 'Bearer realm="haulier", error="invalid_token"'


def test_a_new_secret_is_good_at_once(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    key, first = make_key()
    assert closed.get("/jobs", headers=first).status_code == 200

    for _ in range(3):
        second = bearer(api_keys.rotate(conn, key.id, overlap=timedelta(hours=1), actor="test"))

        assert closed.get("/jobs", headers=second).status_code == 200


def test_a_key_that_was_asked_for_too_early_is_good_soon(
    closed: FlaskClient, make_key: MakeKey, conn: Connection
) -> None:
    key, shown = make_key()
    with conn.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM haulier.api_key")
        cursor.execute("DELETE FROM haulier.api_key")
        assert closed.get("/jobs", headers=shown).status_code == 401

        cursor.execute("INSERT INTO haulier.api_key SELECT * FROM kept")

    assert last_in_vain(lambda: closed.get("/jobs", headers=shown).status_code == 200) < 1


def test_tokens_that_are_made_up_cannot_load_the_database(
    make_app: MakeApp, public: Config, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "GUESSES_PER_SECOND", 0.001)
    monkeypatch.setattr(keyring, "MOST_GUESSES", 20.0)
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 60.0)
    (_, used), (_, fresh) = make_key(), make_key()
    client = make_app(public).test_client()
    assert client.get("/jobs", headers=used).status_code == 200
    statements = Statements(monkeypatch)

    answers = [client.get("/jobs", headers=bearer(f"hlr_{number:012d}_{'x' * 43}")) for number in range(100)]

    assert {answer.status_code for answer in answers[:15]} == {401}
    assert {answer.status_code for answer in answers[25:]} == {429}
    assert statements.counts["find"] <= 21
    assert statements.counts["list_ids"] == 1
    assert int(answers[-1].headers["Retry-After"]) > 0
    # A good key is answered, known or not; and guesses of one address are not charged to another.
    assert [client.get("/jobs", headers=shown).status_code for shown in (used, fresh)] == [200, 200]
    elsewhere = {"REMOTE_ADDR": "192.0.2.8"}
    guess = client.get("/jobs", headers=bearer(f"hlr_{999:012d}_{'x' * 43}"), environ_overrides=elsewhere)
    assert guess.status_code == 401


def test_wrong_secrets_of_a_known_key_are_limited_too(
    make_app: MakeApp, public: Config, make_key: MakeKey, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_GUESSES", 1.0)
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 60.0)
    key, shown = make_key()
    client, statements = make_app(public).test_client(), Statements(monkeypatch)

    wrong = [client.get("/jobs", headers=bearer(f"hlr_{key.id}_{n:043d}")).status_code for n in range(50)]

    # None of them is noted as use.
    assert [kept.last_used_at for kept in api_keys.list_keys(conn)] == [None]
    assert (wrong, client.get("/jobs", headers=shown).status_code) == ([401] * 50, 200)
    assert statements.counts["find"] <= 2


def test_fresh_keys_are_good_while_others_guess(
    make_app: MakeApp, public: Config, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_GUESSES", 20.0)
    app, start, statements = make_app(public), threading.Barrier(4), Statements(monkeypatch)
    keys = [make_key(Scope.READ)[1] for _ in range(25)]
    ends = threading.Event()

    def guess(thread: int) -> int:
        client, number = app.test_client(), 0
        start.wait(10)
        while not ends.is_set() or number < 200:
            client.get("/kinds", headers=bearer(f"hlr_{thread}{number:011d}_{'x' * 43}"))
            number += 1
        return number

    with ThreadPoolExecutor(3) as others:
        guesses = [others.submit(guess, thread) for thread in range(3)]
        start.wait(10)
        client = app.test_client()
        found = [client.get("/kinds", headers=shown).status_code for shown in keys]
        ends.set()
        made = sum(each.result() for each in guesses)

    assert found == [200] * 25
    assert made >= 600
    # 25 of the good keys, and of the guesses those that the address has left; not one each.
    assert statements.counts["find"] < 600


def test_a_key_is_looked_up_once_and_noted_once(
    closed: FlaskClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, conn: Connection
) -> None:
    key, shown = make_key()
    statements = Statements(monkeypatch)

    answers = [closed.get("/kinds", headers=shown).status_code for _ in range(20)]

    assert answers == [200] * 20
    assert statements.counts == {"find": 1, "touch": 1, "any_exist": 0, "list_ids": 0}
    [kept] = api_keys.list_keys(conn)
    assert kept.last_used_at is not None


def test_looks_up_a_wrong_key_once_and_remembers_a_bounded_number(
    closed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_TRIED", 10)
    monkeypatch.setattr(keyring, "TRIED_SECONDS", 60.0)
    statements = Statements(monkeypatch)
    door = door_of(closed.application)
    tokens = [f"hlr_{number:012d}_{'x' * 43}" for number in range(25)]

    answers = [closed.get("/kinds", headers=bearer(token)).status_code for token in tokens for _ in range(3)]

    assert answers == [401] * 75
    assert statements.counts["find"] == 25
    assert len(door.keyring._tried) <= 10


def test_known_keys_work_while_the_database_is_away_and_others_are_503(
    make_app: MakeApp, public: Config, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "AGAIN_SECONDS", 0.0)
    (_, known), (_, unknown), (_, limited) = make_key(), make_key(), make_key(rate_limit=5)
    with proxy_to(public.database_url) as proxy:
        client = make_app(replace(public, database_url=proxy.url)).test_client()
        _, short = make_key(lifetime=timedelta(seconds=2))
        before = [client.get("/kinds", headers=headers).status_code for headers in (short, known, limited)]

        proxy.go_away()
        away = [client.get("/kinds", headers=headers) for headers in (known, limited, unknown)]
        # At its expiry.
        eventually(lambda: client.get("/kinds", headers=short).status_code == 503)
        proxy.come_back()
        back = client.get("/kinds", headers=unknown)

    assert before == [200] * 3
    assert [answer.status_code for answer in away] == [200, 200, 503]
    assert int(away[2].headers["Retry-After"]) > 0
    assert back.status_code == 200


def test_secrets_are_in_no_log_error_document_or_description(
    make_app: MakeApp, public: Config, make_key: MakeKey, caplog: pytest.LogCaptureFixture, conn: Connection
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = replace(public, haulier_api_key=SECRET, metrics_token="scrape-me-gently")
    client = make_app(settings).test_client()
    key, shown = make_key()
    token = shown["Authorization"].split()[1]

    answers = [
        client.get(path, headers=headers, buffered=True)
        for headers in (shown, bearer(SECRET), bearer(token[:-1] + "!"), bearer(SECRET + "x"))
        for path in ("/jobs", "/nowhere", "/api-docs/openapi.json", "/metrics", "/docs")
    ]
    text = "".join(answer.text for answer in answers) + caplog.text + repr(settings) + repr(key)
    text += repr(door_of(client.application).__dict__)

    with conn.cursor() as cursor:
        cursor.execute("SELECT row_to_json(api_key)::text FROM haulier.api_key")
        text += str(cursor.fetchall())
    assert "GET /jobs 200" in text
    for secret in (SECRET, token, token.split("_", 2)[2], "scrape-me-gently", repr(hash_of(token))):
        assert secret not in text
