"""Each page and each act of the URL map, by what its viewer may do: it ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.http.auth import refusal
from app.http.routes import routes_of
from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element
from tests.web.conftest import MakeSite, SignedIn
from tests.web.forms import ACTS, ADMIN, ENQUEUE, NO_ACTS, NO_PAGES, OPERATE, PAGES, READ, Act, Seen, do
from tests.web.jobs import counted
from tests.web.world import changed, digests, make_world

# What a page may bring up to date when it is loaded and no worker counts.
COUNTED = ("rollup", "depth", "moved", "counting", "error_count", "preview")
# Who comes: the scopes of a key, whether it is good for one queue only, and the application's DASHBOARD.
VIEWERS: dict[str, tuple[tuple[Scope, ...], bool, str]] = {
    "read": (READ, False, "on"),
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


def test_refuses_the_acts_that_the_permissions_refuse_and_no_other(enter: Any, conn: Connection, sql) -> None:
    wrong: list[tuple[object, ...]] = []
    for place, viewer in enumerate(VIEWERS):
        # Each has its own world, because the acts that it may do change it.
        world = make_world(conn, f"mail-{place}")
        browser = enter(viewer, world.queue)
        csrf, before = browser.csrf, digests(sql)
        refused = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if is_refused(act, viewer)}
        tables = changed(before, digests(sql))
        allowed = {rule: do(browser, csrf, act, world) for rule, act in ACTS.items() if not is_refused(act, viewer)}
        wrong += [(viewer, rule, status) for rule, status in refused.items() if status != 403]
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


def test_shows_the_pages_that_the_permissions_allow_and_no_other(enter: Any, conn: Connection, sql) -> None:
    world = make_world(conn, "mail")
    wrong = []
    for viewer in VIEWERS:
        browser = enter(viewer)
        # From here on it is known when the key was last used.
        browser.page("/ui/settings")
        before = digests(sql, *COUNTED)
        for rule, page in PAGES.items():
            # Who may not open the first page is led to one that is open to them.
            refused = 303 if rule == "/ui" else 403
            status = browser.get(world.filled(page.path)).status_code
            if status != (refused if is_refused(page, viewer) else 200):
                wrong.append((viewer, rule, status))
        assert changed(before, digests(sql, *COUNTED)) == set()

    assert wrong == []


@pytest.mark.parametrize("viewer", OF_ONE_QUEUE)
def test_shows_a_key_of_one_queue_nothing_of_another(enter: Any, conn: Connection, viewer: str) -> None:
    make_world(conn, "mail")
    other = make_world(conn, "salmon")
    browser = enter(viewer)
    # An error that is the same in both is shown as it is in the own queue.
    words = {"salmon"} | {text for name, text in other.names.items() if name not in ("error", "seen", "as_of")}

    statuses = {rule: browser.get(other.filled(page.path)).status_code for rule, page in PAGES.items()}
    texts = {rule: browser.get(page.path).text for rule, page in PAGES.items() if "{" not in page.path}

    opened = {rule for rule, status in statuses.items() if "{" in PAGES[rule].path and status == 200}
    assert opened <= {"/ui/search", "/ui/failures/<error_id>"}
    assert {(rule, word) for rule, text in texts.items() for word in words if word in text} == set()


# What pages offer


# Acts that no page offers in the states of this world: nothing is paused or quiet, the error is muted, workers live. To
# start an operation is offered by its preview.
NOT_OFFERED = {
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
    offers = Offers(browser)

    pages = list(walk(browser))
    offered = {each for page in pages for each in offers.of(page)}

    assert len(pages) > (5 if viewer == "operate" else 15)
    assert {each for each in offered if offers.is_refused(*each)} == set()
    may = {rule for rule, act in ACTS.items() if not is_refused(act, viewer)} - NOT_OFFERED
    if viewer == "operate":
        # A key without `read` opens few pages.
        may = {rule for rule in may if rule.startswith(("/ui/operations/<", "/ui/settings", "/ui/sign-out"))}
    assert may - {offers.rule_of(*each) for each in offered} == set()


def test_offers_no_act_if_it_is_only_for_reading(enter: Any, conn: Connection, sql) -> None:
    make_world(conn, "mail")
    # While no worker lives, whoever watches an operation works it off.
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    browser = enter("admin, for reading")
    offers = Offers(browser)

    pages = list(walk(browser))
    acts = {path for page in pages for method, path in offers.of(page) if method == "POST"}

    assert acts == {"/ui/settings", "/ui/settings/theme", "/ui/sign-out"}
    assert [page for page in pages if "Read only" not in page.text] == []


def test_opens_a_page_that_states_no_scope_only_to_admins(make_site: MakeSite, signed_in: SignedIn) -> None:
    def plans() -> str:
        return "plans"

    app: Any = make_site()
    app.add_url_rule("/ui/secret-plans", "ui.plans", plans)

    statuses = [signed_in(scope, app=app).get("/ui/secret-plans").status_code for scope in (Scope.READ, Scope.ADMIN)]

    assert statuses == [403, 200]


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


def links(page: Element) -> list[str]:
    found = [each.attrs.get("href", "").partition("#")[0] for each in page.all("a")]
    return [each for each in found if each.startswith("/ui") and ".csv" not in each]


def shape_of(link: str) -> str:
    """Return the path and the names of its parameters: pages that differ only in the values are like each other."""
    path, _, query = link.partition("?")
    return f"{path}?{'&'.join(sorted({each.partition('=')[0] for each in query.split('&')}))}" if query else path


class Offers:
    """What pages offer to the viewer, and what of it would be refused."""

    def __init__(self, browser: Browser) -> None:
        app, self._key = browser.client.application, browser.key
        self._urls, self._routes = app.url_map.bind("localhost"), routes_of(app)

    def of(self, page: Element) -> set[tuple[str, str]]:
        """Return the method and the path of each form and each button."""
        found = {(each.attrs.get("method", "get").upper(), each.attrs["action"]) for each in page.all("form")}
        return found | {("POST", each.attrs["formaction"]) for each in page.all("button") if "formaction" in each.attrs}

    def rule_of(self, method: str, path: str) -> str:
        """Return the rule to which the path belongs."""
        rule, _ = self._urls.match(path, method, return_rule=True)
        return str(rule.rule)

    def is_refused(self, method: str, path: str) -> bool:
        """Return whether the server would refuse it."""
        return refusal(self._key, self._routes[method, self.rule_of(method, path)]) is not None
