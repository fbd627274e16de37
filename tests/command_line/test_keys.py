"""`haulier keys` over HTTP: it ..."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from haulier.domain.api_key import TOKEN
from tests.command_line.conftest import Ended, Run
from tests.web import Server

ADMIN = "k" * 40


@pytest.fixture
def keys(run: Run, run_gunicorn, database: str) -> Iterator[Run]:
    """Give a function that runs a command of `haulier keys` against a service that has keys."""
    # Not against the shared one, which would ask everybody for a key from then on.
    with run_gunicorn(database, HAULIER_API_KEY=ADMIN) as closed:

        def keys(*args: str, key: str = ADMIN) -> Ended:
            return run("keys", *args, HAULIER_URL=closed.url, HAULIER_API_KEY=key)

        yield keys


def test_makes_lists_rotates_and_revokes_keys(keys: Run, run: Run) -> None:
    made = keys(
        "create", "--name", "shop\u202e", "--scopes", "read,enqueue", "--queues", "mail", "--rate", "50", "--days", "90"
    )
    token = made.out.strip()
    key_id = TOKEN.fullmatch(token)[1]
    rotated = keys("rotate", key_id, "--hours", "1.5")
    listed = keys("list")
    revoked, again = keys("revoke", key_id), keys("revoke", key_id)

    assert made.err == f"created the API key {key_id}, which is shown only this once:\n"
    assert rotated.err == (
        f"the API key {key_id} has a new secret, which is shown only this once; the old one stays valid for 1.5 h:\n"
    )
    assert TOKEN.fullmatch(rotated.out.strip())[1] == key_id
    [row] = listed.rows
    assert row[:5] == [key_id, "shop\\u202e", "enqueue,read", "mail", "50/s"]
    assert re.search(r"  until \S+Z, its old secret until \S+Z$", listed.out.splitlines()[1])
    assert (revoked.code, revoked.out) == (0, f"revoked the API key {key_id} (shop\\u202e)\n")
    assert again.code == 3
    assert not [each for each in (token, rotated.out.strip()) if each.split("_", 2)[2] in listed.out + revoked.out]
    assert re.search(r"  revoked \S+Z$", keys("list").out.splitlines()[1])
    assert keys("list", "--json").json["id"] == key_id
    reader = keys("create", "--name", "shop", "--scopes", "read").out.strip()
    for key in (reader, "x" * 40):
        refused = keys("list", key=key)
        assert (refused.code, key in refused.err) == (4, False)


def test_uses_the_database_if_database_url_is_set(run: Run, database: str, server: Server) -> None:
    assert run("keys", "list", DATABASE_URL=database, HAULIER_URL="http://127.0.0.1:9").out.startswith("id ")
    assert run("keys", "list", "--url", server.url, DATABASE_URL="postgresql://u@127.0.0.1:1/x").code == 0
    assert run("keys", "list", "--json", DATABASE_URL=database).code == 2
