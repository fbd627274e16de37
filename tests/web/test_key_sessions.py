"""The sessions of an API key, on its page: it ..."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from flask import Flask
from psycopg2.extensions import connection as Connection

from app.web.pages.keys import MOST_SESSIONS
from haulier.domain.api_key import Scope, hash_of
from haulier.queue.access import api_keys, sessions
from tests.http.callers import MakeKey
from tests.web.browsing import Browser, Element, faults, read
from tests.web.conftest import MakeSite, SignedIn, new_key

# Opened, last used and to end so many seconds from now.
OPENED = """
    UPDATE haulier.session
    SET created_at = now() + make_interval(secs => %s), seen_at = now() + make_interval(secs => %s),
        expires_at = now() + make_interval(secs => %s)
    WHERE hash = %s
"""
HOUR = 3600


def listed(page: Element) -> list[str]:
    """Return what the page tells of each session."""
    [card] = [each for each in page.all("section") if each.given.get("aria-labelledby") == "sessions"]
    return [row.text for row in card.all("tr")[1:]]


def opened(site: Flask, token: str) -> str:
    """Return the token of a new session."""
    browser = Browser(site)
    browser.sign_in(token)
    cookie = browser.cookie("haulier")
    assert cookie is not None
    return cookie


def test_lists_those_that_are_good_and_nothing_that_opens_one(
    browser: Browser,
    site: Flask,
    make_key: MakeKey,
    sql: Any,
) -> None:
    key, token = new_key(make_key, Scope.READ)
    path = f"/ui/keys/{key.id}"
    none = browser.page(path)
    used, new, over = (opened(site, token) for _ in range(3))
    sql(OPENED, -3 * HOUR, -2 * HOUR, 5 * HOUR, hash_of(used))
    sql(OPENED, -3 * HOUR, -HOUR, -1, hash_of(over))

    page = browser.page(path)

    assert (listed(none), "Nobody is signed in with it." in none.text) == ([], True)
    first, second = listed(page)
    assert re.fullmatch(r"(now|\d+ s ago) (now|\d+ s ago) in 11 h", first)
    assert re.fullmatch(r"3 h ago 2 h ago in 4 h", second)
    text = browser.get(path).text
    hidden = [each for secret in (used, new, over, token) for each in (secret, hash_of(secret).hex())]
    assert [each for each in hidden if each in text] == []


def test_lists_those_of_the_old_secret_as_long_as_that_is_good(
    browser: Browser,
    site: Flask,
    conn: Connection,
    make_key: MakeKey,
) -> None:
    key, token = new_key(make_key, Scope.READ)
    path = f"/ui/keys/{key.id}"
    opened(site, token)

    second = api_keys.rotate(conn, key.id, overlap=timedelta(hours=1), actor="test")
    opened(site, second)
    both = listed(browser.page(path))
    api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="test")

    assert sorted(row.rpartition("in ")[2] for row in both) == ["11 h", "59 min"]
    assert listed(browser.page(path)) == []


def test_shows_those_that_were_used_last_and_how_many_more_there_are(
    browser: Browser,
    conn: Connection,
    make_key: MakeKey,
) -> None:
    key, token = new_key(make_key, Scope.READ)
    for _ in range(MOST_SESSIONS + 3):
        sessions.open_session(conn, key_id=key.id, key_hash=hash_of(token), idle_seconds=60)

    page = browser.page(f"/ui/keys/{key.id}")

    assert len(listed(page)) == MOST_SESSIONS
    assert "and 3 more" in page.text


def test_ends_all_of_ones_own_key_and_says_so_in_the_record(
    site: Flask,
    make_key: MakeKey,
    signed_in: SignedIn,
    sql: Any,
) -> None:
    key, token = new_key(make_key, Scope.ADMIN)
    own, lost, other = Browser(site), Browser(site), signed_in(Scope.READ)
    for each in (own, lost):
        each.sign_in(token)
    path = f"/ui/keys/{key.id}"

    ended = own.send(own.page(path), f"{path}/sign-out")

    assert (ended.status_code, ended.headers["Location"]) == (303, "/ui/sign-in")
    assert own.cookie("haulier") is None
    assert [each.get("/ui/help").status_code for each in (own, lost, other)] == [303, 303, 200]
    assert sql("SELECT key_id FROM haulier.session") == [(other.key.id,)]
    found = sql("SELECT actor, action, key_id FROM haulier.audit WHERE action = 'sign_out'")
    assert found == [(key.id, "sign_out", key.id)]


def test_ends_none_of_another_key_and_says_what_does(
    browser: Browser,
    site: Flask,
    make_key: MakeKey,
    sql: Any,
) -> None:
    key, token = new_key(make_key, Scope.READ)
    opened(site, token)
    path = f"/ui/keys/{key.id}"

    page = browser.page(path)
    refused = browser.post(f"{path}/sign-out", csrf=page.all("input", name="csrf")[0].given["value"])

    [button] = [each for each in page.all("button") if each.text == "Sign out all"]
    [why] = page.all("span", id=button.given["aria-describedby"])
    assert "rotate the key" in why.text
    assert (refused.status_code, faults(read(refused.text))) == (409, [])
    assert "rotate the key" in refused.text
    assert sql("SELECT count(*) FROM haulier.session") == [(2,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'sign_out'") == [(0,)]


def test_ends_none_where_the_dashboard_is_for_reading(make_site: MakeSite, signed_in: SignedIn, sql: Any) -> None:
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    path = f"/ui/keys/{browser.key.id}"

    page = browser.page(path)
    refused = browser.post(f"{path}/sign-out", csrf=page.all("input", name="csrf")[0].given["value"])

    assert len(listed(page)) == 1
    assert refused.status_code == 403
    assert sql("SELECT count(*) FROM haulier.session") == [(1,)]
