"""Each page and each act of the URL map, by what its viewer may do: it ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from flask import Flask
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection

from app.http.auth import refusal
from app.http.routes import routes_of
from app.site import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import sessions
from haulier.queue.upkeep.purge import purge_sessions
from tests.conftest import sql_on
from tests.http.callers import SECRET
from tests.roles import Roles, apply_grants
from tests.web.browsing import Browser, Element, MakeSite, SignedIn
from tests.web.forms import ACTS, ADMIN, CELLS, ENQUEUE, NO_ACTS, NO_PAGES, OPERATE, PAGES, READ, Act, Seen, do
from tests.web.jobs import counted
from tests.web.world import World, changed, digests, make_world

# What a page may bring up to date when it is loaded and no worker counts.
COUNTED = ("rollup", "depth", "moved", "counting", "error_count", "preview")
# Who comes: the scopes of a key, whether it is good for one queue only, and the application's DASHBOARD.
VIEWERS: dict[str, tuple[tuple[Scope, ...], bool, str]] = {
    "operate": (OPERATE, False, "on"),
    "read and enqueue": ((*READ, *ENQUEUE), False, "on"),
    "operate and enqueue": ((*OPERATE, *ENQUEUE), False, "on"),
    "admin": (ADMIN, False, "on"),
    "operate, one queue": (OPERATE, True, "on"),
    "admin, one queue": (ADMIN, True, "on"),
    "admin, for reading": (ADMIN, False, "read"),
}
OF_ONE_QUEUE = [name for name, (_, is_limited, _) in VIEWERS.items() if is_limited]
# A key of one queue does not learn what exists in another; ticked jobs of another are left alone, and the page says so.
AS_IF_GONE = {303, 404}
MOST_PAGES = 150


def rules(app: Flask, method: str) -> set[str]:
    """Return the rules of the dashboard that take this method."""
    found = [rule for rule in app.url_map.iter_rules() if re.match(r"/ui(/|$)", rule.rule)]
    return {rule.rule for rule in found if method in (rule.methods or ())}


def is_refused(needs: Act | Seen, viewer: str) -> bool:
    """Return whether the permissions of dashboard.md refuse it to this viewer."""
    scopes, is_limited, dashboard = VIEWERS[viewer]
    lacks = ADMIN[0] not in scopes and not set(needs.needs) <= set(scopes)
    acts = bool(needs.needs) if isinstance(needs, Act) else needs.acts
    return lacks or (needs.is_whole and is_limited) or (acts and dashboard == "read")


@pytest.fixture
def enter(make_site: MakeSite, signed_in: SignedIn) -> Any:
    """Give a function that returns a browser of such a viewer."""
    apps = {dashboard: make_site(dashboard=dashboard) for dashboard in ("on", "read")}

    def enter(viewer: str, queue: str = "mail") -> Browser:
        scopes, is_limited, dashboard = VIEWERS[viewer]
        return signed_in(*scopes, queues=[queue] if is_limited else None, app=apps[dashboard])

    return enter


def test_knows_every_page_and_every_act(site: Flask) -> None:
    assert rules(site, "POST") - NO_ACTS == set(ACTS)
    assert rules(site, "GET") - NO_PAGES == set(PAGES)


def test_refuses_the_acts_and_pages_that_the_permissions_refuse_and_no_other(enter: Any, conn: Connection, sql) -> None:
    wrong: list[tuple[object, ...]] = []
    for place, viewer in enumerate(VIEWERS):
        # Each has its own world, because the acts that it may do change it.
        world = make_world(conn, f"mail-{place}")
        browser = enter(viewer, world.queue)
        csrf, before = browser.csrf, digests(sql, *COUNTED)
        pages = {rule: browser.get(world.filled(page.path)).status_code for rule, page in PAGES.items()}
        refused = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if is_refused(act, viewer)}
        tables = changed(before, digests(sql, *COUNTED))
        allowed = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if not is_refused(act, viewer)}
        # Who may not open the first page is led to one that is open to them.
        closed = [pages[rule] for rule, page in PAGES.items() if rule != "/ui" and is_refused(page, viewer)]
        wrong += [(viewer, *refused.items())] if {*refused.values(), *closed} - {403} else []
        wrong += [(viewer, rule) for rule, page in PAGES.items() if (pages[rule] == 200) is is_refused(page, viewer)]
        wrong += [(viewer, rule, status) for rule, status in allowed.items() if status in (403, 404, 500)]
        wrong += [(viewer, tables)] if tables else []

    assert wrong == []


def test_changes_something_by_each_form_and_records_who_did_it(enter: Any, conn: Connection, sql) -> None:
    world, browser = make_world(conn, "mail"), enter("admin")
    csrf, found, actors = browser.csrf, {}, set()
    for rule, act in ACTS.items():
        before, [(newest,)] = digests(sql), sql("SELECT max(id) FROM haulier.audit")
        status = do(browser, csrf, act, world)
        found[rule] = (bool(changed(before, digests(sql))), status >= 400)
        # What is worked off there was started by somebody else.
        if not rule.endswith("/advance"):
            actors |= set(sql("SELECT actor FROM haulier.audit WHERE id > %s", newest))

    assert found == {rule: (act.changes, act.is_own) for rule, act in ACTS.items()}
    assert actors == {(browser.key.id,)}


def test_lets_a_key_of_one_queue_change_nothing_of_another(enter: Any, conn: Connection, sql) -> None:
    world = make_world(conn, "salmon")
    acts = {rule: act for rule, act in ACTS.items() if act.needs}
    # Which jobs match a filter it may ask: there are none in its own queue.
    expected = {"/ui/operations/new": {200}}
    wrong = []
    for viewer in OF_ONE_QUEUE:
        browser = enter(viewer)
        csrf, before = browser.csrf, digests(sql, "preview")
        for rule, act in acts.items():
            is_of_one = "<uuid" in rule and not act.is_whole
            status = do(browser, csrf, act, world)
            if status not in expected.get(rule, {403, 404} if is_of_one else {403, 422, *AS_IF_GONE}):
                wrong.append((viewer, rule, status))
        assert changed(before, digests(sql, "preview")) == set()

    assert wrong == []


def test_shows_a_key_of_one_queue_nothing_of_another(enter: Any, conn: Connection) -> None:
    make_world(conn, "mail")
    other = make_world(conn, "salmon")
    browser = enter("admin, one queue")
    # An error that is the same in both is shown as it is in the own queue.
    words = {"salmon"} | {text for name, text in other.names.items() if name not in ("error", "seen", "as_of")}

    statuses = {rule: browser.get(other.filled(page.path)).status_code for rule, page in PAGES.items()}
    texts = {rule: browser.get(page.path).text for rule, page in PAGES.items() if "{" not in page.path}

    opened = {rule for rule, status in statuses.items() if "{" in PAGES[rule].path and status == 200}
    assert opened <= {"/ui/search", "/ui/failures/<error_id>"}
    assert {(rule, word) for rule, text in texts.items() for word in words if word in text} == set()


# Acts that no page offers in the states of this world: nothing is paused, quiet or acknowledged, the error is muted,
# workers live. To start an operation is offered by its preview.
NOT_OFFERED = {
    "/ui/notices/<mark>/show",
    "/ui/queues/<name>/resume",
    "/ui/schedules/<name>/resume",
    "/ui/workers/<uuid:worker_id>/wake",
    "/ui/failures/<error_id>/mute",
    "/ui/operations/<uuid:operation_id>/advance",
    "/ui/operations",
}


@pytest.mark.parametrize("viewer", ["read and enqueue", "operate", "admin", "admin, one queue"])
def test_offers_every_act_that_the_viewer_may_do_and_no_other(enter: Any, conn: Connection, viewer: str) -> None:
    make_world(conn, "mail")
    counted(conn)
    browser = enter(viewer)
    routes = routes_of(browser.client.application)

    pages = list(walk(browser))
    offered = {(method, rule_of(browser, method, path)) for page in pages for method, path in offers_of(page)}

    assert len(pages) > (5 if viewer == "operate" else 15)
    assert {each for each in offered if refusal(browser.key, routes[each]) is not None} == set()
    may = {rule for rule, act in ACTS.items() if not is_refused(act, viewer)} - NOT_OFFERED
    if viewer == "operate":
        # A key without `read` opens few pages.
        may = {rule for rule in may if rule.startswith(("/ui/operations/<", "/ui/settings", "/ui/sign-out"))}
    assert may - {rule for _, rule in offered} == set()


def test_offers_no_act_if_it_is_only_for_reading(enter: Any, conn: Connection, sql) -> None:
    make_world(conn, "mail")
    # While no worker lives, whoever watches an operation works it off.
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    browser = enter("admin, for reading")

    pages = list(walk(browser))
    acts = {path for page in pages for method, path in offers_of(page) if method == "POST"}

    assert acts == {"/ui/settings", "/ui/settings/theme", "/ui/sign-out"}
    assert [page for page in pages if "Read only" not in page.text] == []


def walk(browser: Browser) -> Iterator[Element]:
    """Yield every page to which links lead from the first one, each with some query of its fields."""
    first = browser.get("/ui").headers.get("Location", "/ui")
    seen, left = {first}, [first]
    while left:
        page = browser.page(left.pop(0))
        yield page
        for link in links(page):
            shape = shape_of(link)
            if shape not in seen and len(seen) < MOST_PAGES:
                seen.add(shape)
                left.append(link)


def offers_of(page: Element) -> set[tuple[str, str]]:
    """Return the method and the path of each form and each button."""
    found = {(each.attrs.get("method", "get").upper(), each.attrs["action"]) for each in page.all("form")}
    return found | {("POST", each.attrs["formaction"]) for each in page.all("button") if "formaction" in each.attrs}


def rule_of(browser: Browser, method: str, path: str) -> str:
    rule, _ = browser.client.application.url_map.bind("localhost").match(path, method, return_rule=True)
    return str(rule.rule)


def links(page: Element) -> list[str]:
    found = [each.attrs.get("href", "").partition("#")[0] for each in page.all("a")]
    return [each for each in found if each.startswith("/ui") and ".csv" not in each]


def shape_of(link: str) -> str:
    """Return the path and the names of its parameters: pages that differ only in the values are like each other."""
    path, _, query = link.partition("?")
    return f"{path}?{'&'.join(sorted({each.partition('=')[0] for each in query.split('&')}))}" if query else path


# Under the rights of grants.sql


DIRECT = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

# What the role may not do unless grants.sql was applied with web_makes_keys.
OF_KEYS = {"/ui/keys/new", "/ui/keys/<key_id>/rotate", "/ui/keys/<key_id>/revoke"}
LATE = ("Could not be loaded", "Not searched")


@contextmanager
def entered(roles: Roles) -> Iterator[tuple[Browser, World]]:
    """Give a browser that is signed in to an application under the role of the API, and one of everything."""
    with closing(connect(roles.owner)) as owner:
        world = make_world(owner, "mail")
    app = build(Config(database_url=roles.web, haulier_api_key=SECRET, cells_file=CELLS))
    browser = Browser(app)
    browser.sign_in(SECRET)
    yield browser, world
    app.extensions["haulier"].database.close()


@DIRECT
def test_shows_every_page_and_does_every_act_under_the_role_of_the_api(roles: Roles) -> None:
    with entered(roles) as (browser, world):
        pages = {rule: browser.get(world.filled(page.path)) for rule, page in PAGES.items()}
        listed, one = browser.page("/ui/keys"), browser.page(world.filled("/ui/keys/{key}"))
        csrf = browser.csrf
        acts = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items()}

    assert {rule: page.status_code for rule, page in pages.items() if page.status_code != 200} == {"/ui/keys/new": 403}
    assert [rule for rule, page in pages.items() if any(word in page.text for word in LATE)] == []
    refused = {rule: status for rule, status in acts.items() if status >= 400}
    # One's own sessions end by it, and no others.
    assert refused == dict.fromkeys(OF_KEYS, 403) | {"/ui/keys/<key_id>/sign-out": 409}
    # It offers no form for keys, and names the commands.
    assert [path for page in (listed, one) for path in page.actions() if "/keys" in path] == []
    assert listed.all("a", href="/ui/keys/new") == []
    assert "python -m haulier keys create" in listed.text
    assert [f"keys {verb} {world.names['key']}" in one.text for verb in ("rotate", "revoke")] == [True, True]
    assert "may not write API keys" in pages["/ui/keys/new"].text


@DIRECT
def test_makes_and_rotates_keys_if_the_role_may(roles: Roles, super_conn: Connection) -> None:
    apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys="yes")
    with entered(roles) as (browser, world):
        csrf = browser.csrf
        statuses = {rule: do(browser, csrf, ACTS[rule], world) for rule in ACTS if rule in OF_KEYS}

    assert statuses == {"/ui/keys/new": 201, "/ui/keys/<key_id>/rotate": 200, "/ui/keys/<key_id>/revoke": 303}


@DIRECT
def test_lets_a_worker_forget_sessions_and_learn_no_more_of_them(roles: Roles) -> None:
    with closing(connect(roles.web)) as web, closing(connect(roles.worker)) as worker:
        sessions.open_session(web, key_id="env", key_hash=b"x" * 32, idle_seconds=0)

        assert purge_sessions(worker) == 1
        with pytest.raises(InsufficientPrivilege):
            sql_on(worker)("SELECT key_hash FROM haulier.session")
