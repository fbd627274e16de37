"""The pages of API keys: it ..."""

from __future__ import annotations

import re

from flask import Flask
from psycopg2.extensions import connection as Connection

from app.web.pages.keys import MOST_SESSIONS
from haulier.domain.api_key import TOKEN, Scope, hash_of
from haulier.queue.access import api_keys, sessions
from tests.http.callers import MakeKey
from tests.web.browsing import Browser, Element, faults, read
from tests.web.conftest import SignedIn, new_key

LIST, NEW = "/ui/keys", "/ui/keys/new"
# Seconds from now: when it was opened, when it was last used, and when it ends.
OPENED = """
    UPDATE haulier.session
    SET created_at = now() + make_interval(secs => %s), seen_at = now() + make_interval(secs => %s),
        expires_at = now() + make_interval(secs => %s)
    WHERE hash = %s
"""
HOUR = 3600


def shown(text: str) -> str:
    """Return the key that a page shows."""
    found = re.search(TOKEN.pattern, text)
    assert found
    return found[0]


def test_makes_a_key_and_shows_it_this_once(browser: Browser, sql, caplog) -> None:
    caplog.set_level("DEBUG")
    made = browser.send(
        browser.page(NEW), NEW, name="shop", scopes=["enqueue", "read"], queues="mail, bulk", rate_limit="50", days="7"
    )

    token = shown(made.text)
    assert (made.status_code, faults(read(made.text))) == (201, [])
    assert made.headers["Cache-Control"] == "no-store"
    stored = "SELECT scopes, queues, rate_limit, expires_at IS NOT NULL FROM haulier.api_key WHERE name = 'shop'"
    assert sql(stored) == [(["enqueue", "read"], ["bulk", "mail"], 50.0, True)]
    assert Browser(browser.client.application).sign_in(token).status_code == 303
    others = [browser.get(path).text for path in (LIST, "/ui/audit", "/ui/audit.csv", f"{LIST}/{token[4:16]}")]
    assert [text for text in (*others, caplog.text) if token in text or token[17:] in text] == []
    assert "shop" in others[0]


def test_makes_one_key_if_the_form_is_sent_twice_and_says_which(browser: Browser, sql) -> None:
    page, sent = browser.page(NEW), {"name": "shop", "scopes": "read"}

    made = browser.send(page, NEW, **sent)
    again = browser.refused(page, NEW, 409, **sent)
    other = browser.send(again, NEW, **sent)

    keys = sql("SELECT id FROM haulier.api_key WHERE name = 'shop' ORDER BY created_at")
    assert (made.status_code, other.status_code, len(keys)) == (201, 201, 2)
    assert f"By this form the API key {keys[0][0]} was made before" in again.text
    assert TOKEN.search(again.text) is None


def test_rotates_a_key_once_and_revokes_it_by_its_name(
    browser: Browser, conn: Connection, make_key: MakeKey, sql
) -> None:
    key, old = new_key(make_key, Scope.READ)
    path = f"{LIST}/{key.id}"
    page = browser.page(path)

    rotated = browser.send(page, f"{path}/rotate", hours="24")
    again = browser.refused(page, f"{path}/rotate", 409, hours="24")
    at_once = browser.send(page, f"{path}/rotate", hours="0")
    found = api_keys.find(conn, key.id)
    second = browser.send(again, f"{path}/rotate", hours="0")
    browser.refused(browser.page(path), f"{path}/revoke", confirm="test")
    revoked = browser.send(browser.page(path), f"{path}/revoke", confirm="tests")

    assert found
    assert [found.key.is_opened_by(token) for token in (old, shown(rotated.text))] == [True, True]
    assert (rotated.status_code, faults(read(rotated.text))) == (200, [])
    assert ("another secret meanwhile" in again.text, at_once.status_code, second.status_code) == (True, 409, 200)
    assert (revoked.status_code, revoked.headers["Location"]) == (303, LIST)
    assert sql("SELECT revoked_at IS NOT NULL FROM haulier.api_key WHERE id = %s", key.id) == [(True,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(2,)]
    assert browser.get(path).status_code == 404
    assert "Revoked" in browser.page(LIST).rows()[key.id].text


def test_says_that_a_key_is_ones_own(browser: Browser) -> None:
    assert "You are signed in with this key" in browser.page(f"{LIST}/{browser.key.id}").text
    assert "yours" in browser.page(LIST).rows()[browser.key.id].text


# Its sessions


def listed(page: Element) -> list[str]:
    """Return what the page says of each session."""
    [card] = [each for each in page.all("section") if each.attrs.get("aria-labelledby") == "sessions"]
    return [row.text for row in card.all("tr")[1:]]


def opened(site: Flask, token: str) -> str:
    """Return the token of a new session."""
    browser = Browser(site)
    browser.sign_in(token)
    cookie = browser.cookie("haulier")
    assert cookie is not None
    return cookie


def test_lists_the_sessions_that_are_good_and_nothing_that_opens_one(
    browser: Browser, site: Flask, make_key: MakeKey, sql
) -> None:
    key, token = new_key(make_key, Scope.READ)
    path = f"{LIST}/{key.id}"
    none = browser.page(path)
    used, new, over = (opened(site, token) for _ in range(3))
    sql(OPENED, -3 * HOUR, -2 * HOUR, 5 * HOUR, hash_of(used))
    sql(OPENED, -3 * HOUR, -HOUR, -1, hash_of(over))

    page, text = browser.page(path), browser.get(path).text

    assert (listed(none), "Nobody is signed in with it." in none.text) == ([], True)
    first, second = listed(page)
    assert re.fullmatch(r"(now|\d+ s ago) (now|\d+ s ago) in 11 h", first)
    assert re.fullmatch(r"3 h ago 2 h ago in 4 h", second)
    hidden = [each for secret in (used, new, over, token) for each in (secret, hash_of(secret).hex())]
    assert [each for each in hidden if each in text] == []


def test_shows_the_sessions_that_were_used_last_and_how_many_more_there_are(
    browser: Browser, conn: Connection, make_key: MakeKey
) -> None:
    key, token = new_key(make_key, Scope.READ)
    for _ in range(MOST_SESSIONS + 3):
        sessions.open_session(conn, key_id=key.id, key_hash=hash_of(token), idle_seconds=60)

    page = browser.page(f"{LIST}/{key.id}")

    assert len(listed(page)) == MOST_SESSIONS
    assert "and 3 more" in page.text


def test_ends_all_sessions_of_ones_own_key_and_records_it(
    site: Flask, make_key: MakeKey, signed_in: SignedIn, sql
) -> None:
    key, token = new_key(make_key, Scope.ADMIN)
    own, lost, other = Browser(site), Browser(site), signed_in(Scope.READ)
    for each in (own, lost):
        each.sign_in(token)
    path = f"{LIST}/{key.id}"

    ended = own.send(own.page(path), f"{path}/sign-out")

    assert (ended.status_code, ended.headers["Location"]) == (303, "/ui/sign-in")
    assert own.cookie("haulier") is None
    assert [each.get("/ui/help").status_code for each in (own, lost, other)] == [303, 303, 200]
    assert sql("SELECT key_id FROM haulier.session") == [(other.key.id,)]
    recorded = sql("SELECT actor, key_id FROM haulier.audit WHERE action = 'sign_out'")
    assert recorded == [(key.id, key.id)]


def test_ends_no_session_of_another_key_and_says_what_does(
    browser: Browser, site: Flask, make_key: MakeKey, sql
) -> None:
    key, token = new_key(make_key, Scope.READ)
    opened(site, token)
    path = f"{LIST}/{key.id}"

    page = browser.page(path)
    refused = browser.act(f"{path}/sign-out")

    [button] = [each for each in page.all("button") if each.text == "Sign out all"]
    assert "rotate the key" in page.one("span", id=button.attrs["aria-describedby"]).text
    assert (refused.status_code, faults(read(refused.text))) == (409, [])
    assert "rotate the key" in refused.text
    assert sql("SELECT count(*) FROM haulier.session") == [(2,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'sign_out'") == [(0,)]
