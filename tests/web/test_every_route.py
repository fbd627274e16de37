"""Each page and each act of the URL map, by a key of each scope, of one queue, and where it is for reading: it ..."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser
from tests.web.conftest import MakeSite, SignedIn
from tests.web.world import Sql, World, changed, digests, make_world

JOB = {"kind": "send_email", "as": "json", "payload": "{payload}"}
TIMED = {"cron": "30 4 * * *", "time_zone": "UTC", "overlap": "allow", "missed": "last", **JOB}
BULK = {"action": "retry", "queue": "{queue}", "as_of": "{as_of}"}


@dataclass(frozen=True)
class Act:
    """What an act needs, and a form that changes something.

    Shape: a rule's variables are filled in by the names of tests.web.world, as is the form. is_whole: a key of one
           queue is refused, whatever it is about. changes: False where the database stays as it is. is_own: it is
           refused as a conflict but for one's own key, of which other tests tell.
    """

    needs: tuple[Scope, ...]
    path: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = False
    changes: bool = True
    is_own: bool = False


ENQUEUE, READ, OPERATE, ADMIN = (Scope.ENQUEUE,), (Scope.READ,), (Scope.OPERATE,), (Scope.ADMIN,)
# In an order in which each finds what it acts on. Signing in is told of in test_sessions.py.
ACTS: dict[str, Act] = {
    "/ui/jobs/new": Act(ENQUEUE, "/ui/jobs/new", {**JOB, "queue": "{queue}"}),
    "/ui/jobs/<uuid:job_id>/cancel": Act(OPERATE, "/ui/jobs/{queued}/cancel"),
    "/ui/jobs/<uuid:job_id>/retry": Act(OPERATE, "/ui/jobs/{failed}/retry"),
    "/ui/jobs/<uuid:job_id>/run-now": Act(OPERATE, "/ui/jobs/{retrying}/run-now"),
    "/ui/jobs/<uuid:job_id>/change": Act(OPERATE, "/ui/jobs/{queued2}/change", {"priority": "42"}),
    "/ui/jobs/<uuid:job_id>/copy": Act((*OPERATE, *ENQUEUE), "/ui/jobs/{succeeded}/copy"),
    "/ui/jobs/<uuid:job_id>/delete": Act(ADMIN, "/ui/jobs/{succeeded}/delete"),
    "/ui/jobs/ticked/retry": Act(OPERATE, "/ui/jobs/ticked/retry", {"id": ["{failed2}"]}),
    "/ui/jobs/ticked/run-now": Act(OPERATE, "/ui/jobs/ticked/run-now", {"id": ["{retrying2}"]}),
    "/ui/jobs/ticked/cancel": Act(OPERATE, "/ui/jobs/ticked/cancel", {"id": ["{queued2}"]}),
    "/ui/jobs/ticked/delete": Act(ADMIN, "/ui/jobs/ticked/delete", {"id": ["{cancelled}"], "sure": "1"}),
    "/ui/running/<uuid:job_id>/stop": Act(OPERATE, "/ui/running/{running}/stop"),
    "/ui/workers/<uuid:worker_id>/quiet": Act(OPERATE, "/ui/workers/{worker}/quiet", is_whole=True),
    "/ui/workers/<uuid:worker_id>/wake": Act(OPERATE, "/ui/workers/{worker}/wake", is_whole=True),
    "/ui/failures/<error_id>/unmute": Act(OPERATE, "/ui/failures/{error}/unmute", is_whole=True),
    "/ui/failures/<error_id>/mute": Act(OPERATE, "/ui/failures/{error}/mute", {"for": "24h"}, is_whole=True),
    "/ui/queues/<name>/pause": Act(OPERATE, "/ui/queues/{queue}/pause", {"for": "1h"}),
    "/ui/queues/<name>/resume": Act(OPERATE, "/ui/queues/{queue}/resume"),
    "/ui/schedules/new": Act(ADMIN, "/ui/schedules/new", {**TIMED, "name": "new-{queue}"}, is_whole=True),
    "/ui/schedules/<name>/edit": Act(
        ADMIN, "/ui/schedules/{schedule}/edit", {**TIMED, "queue": "{queue}", "seen": "{seen}"}, is_whole=True
    ),
    "/ui/schedules/<name>/run": Act(OPERATE, "/ui/schedules/{schedule}/run"),
    "/ui/schedules/<name>/pause": Act(OPERATE, "/ui/schedules/{schedule}/pause", {"for": "1h"}),
    "/ui/schedules/<name>/resume": Act(OPERATE, "/ui/schedules/{schedule}/resume"),
    "/ui/schedule-pauses/pause": Act(OPERATE, "/ui/schedule-pauses/pause", {"for": "1h", "name": ["{schedule}"]}),
    "/ui/schedule-pauses/resume": Act(OPERATE, "/ui/schedule-pauses/resume", {"name": ["{schedule}"]}),
    "/ui/schedules/<name>/delete": Act(
        ADMIN, "/ui/schedules/{schedule}/delete", {"confirm": "{schedule}"}, is_whole=True
    ),
    "/ui/operations/new": Act(OPERATE, "/ui/operations/new", BULK),
    "/ui/operations": Act(OPERATE, "/ui/operations", BULK),
    "/ui/operations/<uuid:operation_id>/cancel": Act(OPERATE, "/ui/operations/{waits}/cancel"),
    "/ui/operations/<uuid:operation_id>/resume": Act(OPERATE, "/ui/operations/{ended}/resume"),
    "/ui/operations/<uuid:operation_id>/advance": Act(OPERATE, "/ui/operations/{due}/advance"),
    "/ui/keys/new": Act(ADMIN, "/ui/keys/new", {"name": "made", "scopes": "read"}, is_whole=True),
    "/ui/keys/<key_id>/rotate": Act(ADMIN, "/ui/keys/{key}/rotate", {"hours": "0", "seen": "{mark}"}, is_whole=True),
    "/ui/keys/<key_id>/revoke": Act(ADMIN, "/ui/keys/{key}/revoke", {"confirm": "key-{queue}"}, is_whole=True),
    "/ui/keys/<key_id>/sign-out": Act(ADMIN, "/ui/keys/{other}/sign-out", is_whole=True, changes=False, is_own=True),
    "/ui/settings/theme": Act((), "/ui/settings/theme", {"theme": "dark"}, changes=False),
    "/ui/settings": Act((), "/ui/settings", {"theme": "dark", "zone": "UTC"}, changes=False),
    "/ui/sign-out": Act((), "/ui/sign-out"),
}
NO_ACTS = {"/ui/sign-in", "/ui/<path:rest>"}


@dataclass(frozen=True)
class Seen:
    """What a page needs. Shape: acts tells that it is for acting, and for nothing else."""

    needs: tuple[Scope, ...]
    path: str
    is_whole: bool = False
    acts: bool = False


PAGES = {
    "/ui": Seen(READ, "/ui"),
    "/ui/jobs": Seen(READ, "/ui/jobs"),
    "/ui/jobs/<uuid:job_id>": Seen(READ, "/ui/jobs/{queued}"),
    "/ui/jobs/new": Seen(ENQUEUE, "/ui/jobs/new", acts=True),
    "/ui/running": Seen(READ, "/ui/running"),
    "/ui/search": Seen(READ, "/ui/search?q={queue}x"),
    "/ui/failures": Seen(READ, "/ui/failures"),
    "/ui/failures/<error_id>": Seen(READ, "/ui/failures/{error}"),
    "/ui/queues": Seen(READ, "/ui/queues"),
    "/ui/queues/<name>": Seen(READ, "/ui/queues/{queue}"),
    "/ui/kinds": Seen(READ, "/ui/kinds"),
    "/ui/kinds/<name>": Seen(READ, "/ui/kinds/send_email"),
    "/ui/schedules": Seen(READ, "/ui/schedules"),
    "/ui/schedules/<name>": Seen(READ, "/ui/schedules/{schedule}"),
    "/ui/schedules/new": Seen(ADMIN, "/ui/schedules/new", is_whole=True, acts=True),
    "/ui/schedules/<name>/edit": Seen(ADMIN, "/ui/schedules/{schedule}/edit", is_whole=True, acts=True),
    "/ui/schedule-pauses": Seen(OPERATE, "/ui/schedule-pauses", acts=True),
    "/ui/workers": Seen(READ, "/ui/workers"),
    "/ui/workers/<uuid:worker_id>": Seen(READ, "/ui/workers/{worker}"),
    "/ui/operations": Seen(OPERATE, "/ui/operations"),
    "/ui/operations/new": Seen(OPERATE, "/ui/operations/new", acts=True),
    "/ui/operations/<uuid:operation_id>": Seen(OPERATE, "/ui/operations/{waits}"),
    "/ui/database": Seen(OPERATE, "/ui/database", is_whole=True),
    "/ui/audit": Seen(OPERATE, "/ui/audit", is_whole=True),
    "/ui/audit.csv": Seen(OPERATE, "/ui/audit.csv", is_whole=True),
    "/ui/keys": Seen(ADMIN, "/ui/keys", is_whole=True),
    "/ui/keys/new": Seen(ADMIN, "/ui/keys/new", is_whole=True, acts=True),
    "/ui/keys/<key_id>": Seen(ADMIN, "/ui/keys/{key}", is_whole=True),
    "/ui/settings": Seen((), "/ui/settings"),
    "/ui/help": Seen((), "/ui/help"),
}
NO_PAGES = {"/ui/sign-in", "/ui/static/<path:name>", "/ui/", "/ui/<path:rest>"}
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


def do(browser: Browser, csrf: str, act: Act, world: World) -> int:
    """Send the form of the act, and return the status of the answer."""
    fields = {
        name: [world.filled(each) for each in given] if isinstance(given, list) else world.filled(given)
        for name, given in act.fields.items()
    }
    return browser.post(world.filled(act.path), csrf=csrf, **fields).status_code


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
