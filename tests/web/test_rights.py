"""Sessions under the rights of grants.sql, and before it is applied again: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from flask import Flask
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection

from app.site import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys, sessions
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.purge import purge_sessions
from tests.conftest import sql_on
from tests.http.callers import SECRET
from tests.queue.schedules import plant
from tests.roles import Roles, apply_grants
from tests.web.browsing import Browser, form, read
from tests.web.jobs import enqueue

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


@pytest.fixture
def site(roles: Roles) -> Iterator[Flask]:
    """Give an application under its own role."""
    with built(roles) as app:
        yield app


@contextmanager
def built(roles: Roles) -> Iterator[Flask]:
    """Give such an application for the block alone."""
    app = build(Config(database_url=roles.web, haulier_api_key=SECRET))
    yield app
    app.extensions["haulier"].database.close()


def test_serves_every_page_and_ends_sessions_under_the_role_of_the_api(site: Flask) -> None:
    browser = Browser(site)

    browser.sign_in(SECRET)
    for path in ("/ui", "/ui/jobs", "/ui/jobs?status=running&sort=started", "/ui/database", "/ui/settings", "/ui/help"):
        assert "Not available" not in browser.page(path).text
    assert "Not looked for" not in browser.page("/ui/search?q=01a2108e").text
    out = browser.send(browser.page("/ui/help"), "/ui/sign-out")

    assert out.status_code == 303


def test_lists_and_ends_the_sessions_of_a_key_under_the_role_of_the_api(roles: Roles, site: Flask) -> None:
    with closing(connect(roles.owner)) as owner:
        key, token = api_keys.create(owner, NewKey("tests", [Scope.ADMIN]), actor="test")
    browser = Browser(site)
    browser.sign_in(token)
    path = f"/ui/keys/{key.id}"

    page = browser.page(path)
    out = browser.send(page, f"{path}/sign-out")

    with closing(connect(roles.owner)) as owner:
        left = sql_on(owner)("SELECT count(*) FROM haulier.session WHERE key_id = %s", key.id)

    assert "Not available" not in page.text
    assert (out.status_code, browser.get(path).status_code) == (303, 303)
    # The cookie is gone from this browser in any case.
    assert left == [(0,)]


def test_shows_keys_and_offers_no_form_that_the_role_would_be_refused(site: Flask, roles: Roles) -> None:
    with closing(connect(roles.owner)) as owner:
        key, _ = api_keys.create(owner, NewKey("shop", [Scope.READ]), actor="test")
    browser, one = Browser(site), f"/ui/keys/{key.id}"
    browser.sign_in(SECRET)

    pages = [browser.page("/ui/keys"), browser.page(one)]
    token = form(pages[0], "/ui/sign-out")["csrf"]
    opened = browser.get("/ui/keys/new")
    sent = [browser.post(path, csrf=token).status_code for path in ("/ui/keys/new", f"{one}/rotate", f"{one}/revoke")]

    assert [path for page in pages for path in page.actions() if "/keys" in path] == []
    assert pages[0].all("a", href="/ui/keys/new") == []
    assert ["python -m haulier keys create" in page.text for page in pages] == [True, True]
    assert [f"keys {verb} {key.id}" in pages[1].text for verb in ("rotate", "revoke")] == [True, True]
    assert (opened.status_code, "may not write API keys" in opened.text) == (403, True)
    assert sent == [403] * 3


def test_makes_keys_where_the_role_may(roles: Roles, super_conn: Connection) -> None:
    apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys="yes")
    with built(roles) as site:
        browser = Browser(site)
        browser.sign_in(SECRET)

        made = browser.send(browser.page("/ui/keys/new"), "/ui/keys/new", name="shop", scopes="read")
        [place] = [each.attrs["href"] for each in browser.page("/ui/keys").all("a") if each.text == "shop"]
        rotated = browser.send(browser.page(place), f"{place}/rotate", hours="24")

    assert (made.status_code, rotated.status_code) == (201, 200)


def test_does_once_what_a_form_asks_for_under_the_role_of_the_api(roles: Roles, site: Flask) -> None:
    with closing(connect(roles.owner)) as owner:
        plant(sql_on(owner), "nightly", every_seconds=3600)
        path = f"/ui/jobs/{enqueue(owner)}"
    browser = Browser(site)
    browser.sign_in(SECRET)
    page = browser.page(path)
    new = "/ui/operations/new"
    asked = {**form(browser.page("/ui/jobs?queue=default"), new), "action": "cancel"}
    seen = read(browser.post(new, **asked).text)

    copies = [browser.send(page, f"{path}/copy") for _ in range(2)]
    runs = [browser.send(browser.page("/ui/schedules"), "/ui/schedules/nightly/run")]
    starts = [browser.send(seen, "/ui/operations") for _ in range(2)]

    assert {each.status_code for each in (*copies, *runs, *starts)} == {303}
    assert len({each.headers["Location"] for each in (*copies, *starts)}) == 2


def test_lets_a_worker_forget_sessions_and_learn_no_more_of_them(roles: Roles) -> None:
    with closing(connect(roles.web)) as web, closing(connect(roles.worker)) as worker:
        sessions.open_session(web, key_id="env", key_hash=b"x" * 32, idle_seconds=0)

        assert purge_sessions(worker) == 1
        with pytest.raises(InsufficientPrivilege):
            sql_on(worker)("SELECT key_hash FROM haulier.session")
