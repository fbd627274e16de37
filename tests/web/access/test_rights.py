"""The dashboard under the rights of grants.sql: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection

from app.site import build
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.queue.access import sessions
from haulier.queue.upkeep.purge import purge_sessions
from tests.conftest import sql_on
from tests.http.callers import SECRET
from tests.roles import Roles, apply_grants
from tests.web.browsing import Browser
from tests.web.forms import ACTS, PAGES, do
from tests.web.world import World, make_world

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

# What the role may not do unless grants.sql was applied with web_makes_keys.
OF_KEYS = {"/ui/keys/new", "/ui/keys/<key_id>/rotate", "/ui/keys/<key_id>/revoke"}
LATE = ("Not available", "Not looked for")


@contextmanager
def entered(roles: Roles) -> Iterator[tuple[Browser, World]]:
    """Give a browser that is signed in to an application under the role of the API, and one of everything."""
    with closing(connect(roles.owner)) as owner:
        world = make_world(owner, "mail")
    app = build(Config(database_url=roles.web, haulier_api_key=SECRET))
    browser = Browser(app)
    browser.sign_in(SECRET)
    yield browser, world
    app.extensions["haulier"].database.close()


def test_shows_every_page_and_does_every_act_under_the_role_of_the_api(roles: Roles) -> None:
    with entered(roles) as (browser, world):
        pages = {rule: browser.get(world.filled(page.path)) for rule, page in PAGES.items()}
        csrf = browser.csrf
        acts = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items()}

    assert {rule: page.status_code for rule, page in pages.items() if page.status_code != 200} == {"/ui/keys/new": 403}
    assert [rule for rule, page in pages.items() if any(word in page.text for word in LATE)] == []
    refused = {rule: status for rule, status in acts.items() if status >= 400}
    # One's own sessions end by it, and no others.
    assert refused == dict.fromkeys(OF_KEYS, 403) | {"/ui/keys/<key_id>/sign-out": 409}


def test_offers_no_form_for_keys_and_names_the_commands(roles: Roles) -> None:
    with entered(roles) as (browser, world):
        listed, one = browser.page("/ui/keys"), browser.page(world.filled("/ui/keys/{key}"))
        opened = browser.get("/ui/keys/new").text

    assert [path for page in (listed, one) for path in page.actions() if "/keys" in path] == []
    assert listed.all("a", href="/ui/keys/new") == []
    assert ["python -m haulier keys create" in page.text for page in (listed, one)] == [True, True]
    assert [f"keys {verb} {world.names['key']}" in one.text for verb in ("rotate", "revoke")] == [True, True]
    assert "may not write API keys" in opened


def test_makes_and_rotates_keys_if_the_role_may(roles: Roles, super_conn: Connection) -> None:
    apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys="yes")
    with entered(roles) as (browser, world):
        csrf = browser.csrf
        statuses = {rule: do(browser, csrf, ACTS[rule], world) for rule in ACTS if rule in OF_KEYS}

    assert statuses == {"/ui/keys/new": 201, "/ui/keys/<key_id>/rotate": 200, "/ui/keys/<key_id>/revoke": 303}


def test_lets_a_worker_forget_sessions_and_learn_no_more_of_them(roles: Roles) -> None:
    with closing(connect(roles.web)) as web, closing(connect(roles.worker)) as worker:
        sessions.open_session(web, key_id="env", key_hash=b"x" * 32, idle_seconds=0)

        assert purge_sessions(worker) == 1
        with pytest.raises(InsufficientPrivilege):
            sql_on(worker)("SELECT key_hash FROM haulier.session")
