"""Each page and each act of the URL map, by a key of each scope, of one queue, and where it is for reading: it ..."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser
from tests.web.conftest import MakeSite, SignedIn
from tests.web.forms import ACTS, ADMIN, ENQUEUE, NO_ACTS, NO_PAGES, OPERATE, PAGES, READ, Act, Seen, do
from tests.web.world import Sql, changed, digests, make_world

# What a page that is looked at may bring up to date where no worker counts.
COUNTED = ("rollup", "depth", "moved", "counting", "error_count", "preview")

# Who comes: the scopes of a key, its queues, and the application's DASHBOARD.
VIEWERS: dict[str, tuple[tuple[Scope, ...], list[str] | None, str]] = {
    "read": (READ, None, "on"),
    "operate": (OPERATE, None, "on"),
    "read and enqueue": ((*READ, *ENQUEUE), None, "on"),
    "operate and enqueue": ((*OPERATE, *ENQUEUE), None, "on"),
    "admin": (ADMIN, None, "on"),
    "operate, one queue": (OPERATE, ["mail"], "on"),
    "admin, one queue": (ADMIN, ["mail"], "on"),
    "admin, for reading": (ADMIN, None, "read"),
}
# Of another queue nobody tells a key of one whether it exists; what was ticked is left alone, and told so.
AS_IF_GONE = {303, 404}


def rules(app: Flask, method: str) -> set[str]:
    """Return the rules of the dashboard that take this method."""
    found = [rule for rule in app.url_map.iter_rules() if re.match(r"/ui(/|$)", rule.rule)]
    return {rule.rule for rule in found if method in (rule.methods or ())}


def is_refused(needs: Act | Seen, viewer: str) -> bool:
    """Tell whether the permissions of dashboard.md refuse it to this viewer."""
    scopes, queues, dashboard = VIEWERS[viewer]
    lacks = ADMIN[0] not in scopes and not set(needs.needs) <= set(scopes)
    acts = bool(needs.needs) if isinstance(needs, Act) else needs.acts
    return lacks or (needs.is_whole and queues is not None) or (acts and dashboard == "read")


@pytest.fixture
def enter(make_site: MakeSite, signed_in: SignedIn) -> Any:
    """Give a function that returns a browser of such a viewer, and what each of its forms has to send."""

    def enter(viewer: str) -> tuple[Browser, str]:
        scopes, queues, dashboard = VIEWERS[viewer]
        browser = signed_in(*scopes, queues=queues, app=make_site(dashboard=dashboard))
        return browser, browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    return enter


def test_knows_every_page_and_every_act(site: Flask) -> None:
    assert rules(site, "POST") - NO_ACTS == set(ACTS)
    assert rules(site, "GET") - NO_PAGES == set(PAGES)


@pytest.mark.parametrize("viewer", VIEWERS)
def test_refuses_acts_exactly_where_the_permissions_say_so(enter: Any, conn: Connection, sql: Sql, viewer: str) -> None:
    world = make_world(conn, "mail")
    browser, csrf = enter(viewer)
    before = digests(sql)

    refused = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if is_refused(act, viewer)}
    after = digests(sql)
    allowed = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if not is_refused(act, viewer)}

    assert set(refused.values()) <= {403}, refused
    assert changed(before, after) == set()
    assert {rule: status for rule, status in allowed.items() if status in (403, 404, 500)} == {}


def test_changes_something_by_each_form_that_is_sent_here(enter: Any, conn: Connection, sql: Sql) -> None:
    world = make_world(conn, "mail")
    browser, csrf = enter("admin")

    found = {}
    for rule, act in ACTS.items():
        before = digests(sql)
        status = do(browser, csrf, act, world)
        found[rule] = (status, bool(changed(before, digests(sql))))

    expected = {rule: (act.changes, act.is_own) for rule, act in ACTS.items()}
    assert {rule: (is_changed, status >= 400) for rule, (status, is_changed) in found.items()} == expected


@pytest.mark.parametrize("viewer", ["operate, one queue", "admin, one queue"])
def test_lets_a_key_of_one_queue_change_nothing_of_another(enter: Any, conn: Connection, sql: Sql, viewer: str) -> None:
    world = make_world(conn, "salmon")
    browser, csrf = enter(viewer)
    acts = {rule: act for rule, act in ACTS.items() if act.needs}
    before = digests(sql, "preview")

    found = {rule: do(browser, csrf, act, world) for rule, act in acts.items()}

    # Which jobs there are of a filter it may ask: there are none in its own queue.
    assert found.pop("/ui/operations/new") == 200
    assert changed(before, digests(sql, "preview")) == set()
    assert {rule: each for rule, each in found.items() if each not in {403, 422, *AS_IF_GONE}} == {}
    assert {found[rule] for rule in acts if "<uuid" in rule and not acts[rule].is_whole} <= {403, 404}


@pytest.mark.parametrize("viewer", VIEWERS)
def test_shows_pages_exactly_where_the_permissions_say_so(enter: Any, conn: Connection, sql: Sql, viewer: str) -> None:
    world = make_world(conn, "mail")
    browser, _ = enter(viewer)
    before = digests(sql, *COUNTED)

    found = {rule: browser.get(world.filled(page.path)).status_code for rule, page in PAGES.items()}

    expected = {rule: 403 if is_refused(page, viewer) else 200 for rule, page in PAGES.items()}
    # Who may not open the first page is led to one that is open to them.
    expected["/ui"] = 303 if expected["/ui"] == 403 else 200
    assert found == expected
    assert changed(before, digests(sql, *COUNTED)) == set()


@pytest.mark.parametrize("viewer", ["operate, one queue", "admin, one queue"])
def test_shows_a_key_of_one_queue_nothing_of_another(enter: Any, conn: Connection, viewer: str) -> None:
    make_world(conn, "mail")
    other = make_world(conn, "salmon")
    browser, _ = enter(viewer)
    # An error that is the same in both is shown of the own queue alone.
    words = {"salmon"} | {text for name, text in other.names.items() if name not in ("error", "seen", "as_of")}

    answers = {rule: browser.get(other.filled(page.path)) for rule, page in PAGES.items()}
    told = {rule: browser.get(page.path) for rule, page in PAGES.items() if "{" not in page.path}

    assert {rule for rule, answer in answers.items() if "{" in PAGES[rule].path and answer.status_code == 200} <= {
        "/ui/search",
        "/ui/failures/<error_id>",
    }
    assert {(rule, word) for rule, answer in told.items() for word in words if word in answer.text} == set()
