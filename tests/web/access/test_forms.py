"""Forms that others send, that are too old or filled in wrongly; and paths with an empty segment: it ..."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from tests.http.callers import MakeKey
from tests.web.browsing import SAME, Browser, Element, MakeSite, SignedIn, check_each, faults, form, read
from tests.web.forms import ACTS, TIMED
from tests.web.jobs import EMAIL, enqueue
from tests.web.world import changed, digests, make_world


@pytest.fixture
def job(conn: Connection) -> UUID:
    return enqueue(conn)


@pytest.fixture
def acts(job: UUID) -> list[str]:
    """Give the path of each act, those of a job with its id."""
    paths = [re.sub(r"<\w+>", "mail", re.sub(r"<uuid:\w+>", str(job), rule)) for rule in ACTS]
    return [*paths, "/ui/sign-in"]


UNTOUCHED = "SELECT status, priority, (SELECT count(*) > 0 FROM haulier.session) FROM haulier.jobs"


def test_refuses_acts_without_the_field_of_the_session_or_by_get(
    browser: Browser, signed_in: SignedIn, acts: list[str], sql
) -> None:
    theirs = signed_in(Scope.ADMIN).csrf

    statuses = {
        (path, csrf): browser.post(path, priority="5", key="x", csrf=csrf).status_code
        for path in acts
        for csrf in ("", theirs)
    }

    assert {at: status for at, status in statuses.items() if status != 403} == {}
    assert {browser.get(path).status_code for path in acts} <= {200, 303, 404}
    assert sql(UNTOUCHED) == [("queued", 0, True)]


def test_says_that_a_page_is_too_old_and_keeps_what_was_filled_in(browser: Browser, job: UUID, sql) -> None:
    path = f"/ui/jobs/{job}/change"

    old = browser.refused(browser.page(f"/ui/jobs/{job}"), path, 403, priority="7", csrf="of another session")
    again = browser.send(old, path)

    assert old.one("h1").text == "This page has expired"
    assert "Reload the page" in browser.post(f"/ui/jobs/{job}/cancel").text
    assert again.status_code == 303
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


def test_keeps_no_secret_and_nothing_that_the_viewer_may_not_do(signed_in: SignedIn) -> None:
    reader = signed_in(Scope.READ)

    for path, fields in (("/ui/sign-in", {"key": "swordfish"}), ("/ui/keys/new", {"name": "shop", "scopes": "admin"})):
        old = reader.post(path, **fields)
        assert (old.status_code, read(old.text).all("form", action=path)) == (403, [])
        assert "swordfish" not in old.text


def test_takes_a_form_only_from_its_own_pages(browser: Browser, job: UUID) -> None:
    page, change = browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/change"
    ours = {**form(page, change), "priority": "7"}

    check_each(
        lambda headers: browser.post(change, headers, **ours).status_code,
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
        (SAME, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "https://localhost"}, 303),
    )
    # A text that no database takes.
    assert browser.get("/ui/jobs?queue=a%00b").status_code == 400
    assert browser.send(page, change, queue="a\0b").status_code == 400


# Filled in wrongly


# What pages and guards may write that refuse a form.
BESIDE = (
    "rollup",
    "depth",
    "moved",
    "counting",
    "deployment",
    "error_count",
    "preview",
    "rate_budget",
    "api_key",
    "session",
)
Wrong = tuple[tuple[str, Any, str], ...]
# By the page and the path of each form: what is sent with it, and for a field and a wrong text a part of the reason.
FORMS: dict[tuple[str, str], tuple[dict[str, Any], Wrong]] = {
    ("/ui/jobs/new?kind=send_email", "/ui/jobs/new"): (
        {**{f"p.{name}": text for name, text in EMAIL.items()}, "max_attempts": "9"},
        (
            ("p.to", "nobody", ""),
            ("p.to", "", ""),
            ("priority", "x", ""),
            ("priority", "101", ""),
            ("queue", "No", "Must begin with"),
            ("due", "soon", "Must be now"),
            ("tags", "a, a", "twice"),
            ("idempotency_key", "ü", "visible ASCII"),
        ),
    ),
    ("/ui/jobs/new?kind=send_email&as=json", "/ui/jobs/new"): (
        {"queue": "mail"},
        tuple(("payload", text, "") for text in ("{", "[]", '{"to": "a@b.c"}', '{"a": 1, "a": 2}', "NaN", "[" * 200)),
    ),
    ("/ui/jobs/{queued}", "/ui/jobs/{queued}/change"): (
        {"max_attempts": "9"},
        (
            ("priority", "101", ""),
            ("queue", "No", ""),
            ("due", "soon", ""),
            ("max_attempts", "0", ""),
            ("timeout_seconds", "-1", ""),
        ),
    ),
    ("/ui/schedules/new", "/ui/schedules/new"): (
        {**TIMED, "payload": json.dumps(EMAIL), "name": "made", "tags": "a, b"},
        (
            ("name", "No", "Must begin with"),
            ("name", "new", "is reserved"),
            ("cron", "every day", ""),
            ("time_zone", "Nowhere/None", "time zone"),
            ("kind", "", ""),
            ("payload", "{", ""),
            ("payload", '{"to": "a@b.c"}', "subject"),
            ("priority", "x", ""),
            ("jitter_seconds", "-1", ""),
            ("queue", "No", "Must begin with"),
        ),
    ),
    ("/ui/keys/new", "/ui/keys/new"): (
        {"name": "shop", "scopes": "read", "queues": "mail"},
        (
            ("name", "", "Must be 1 to 100"),
            ("queues", "No", "Must begin with"),
            ("rate_limit", "x", "Not a valid number"),
            ("days", "0", ""),
            ("scopes", [], "Choose at least one."),
        ),
    ),
    ("/ui/queues/mail", "/ui/queues/mail/pause"): (
        {"for": "until"},
        (("until", "soon", "Must be a time"), ("until", "2001-01-01T00:00", "Must be in the future.")),
    ),
    ("/ui/schedules/{schedule}", "/ui/schedules/{schedule}/pause"): ({"for": "until"}, (("until", "soon", ""),)),
}


def inputs(page: Element, name: str) -> list[Element]:
    """Return the fields of this name in which one types."""
    typed = [each for each in page.below() if each.attrs.get("name") == name and each.tag in ("input", "textarea")]
    return [each for each in typed if each.attrs.get("type") not in ("hidden", "checkbox", "radio")]


def test_gives_a_form_back_as_it_was_filled_in_with_the_reason(browser: Browser, conn: Connection, sql) -> None:
    world, wrong = make_world(conn, "mail"), []
    before = digests(sql, *BESIDE)
    for (path, action), (sent, fields) in FORMS.items():
        page = browser.page(world.filled(path))
        for name, text, why in fields:
            filled = {**sent, name: text}
            again = browser.refused(page, world.filled(action), **filled)
            marked = [each for each in again.below() if each.attrs.get("aria-invalid") == "true"]
            kept = {other: [each.attrs.get("value", each.text) for each in inputs(again, other)] for other in filled}
            if why not in again.text or (name != "scopes" and [each.attrs["name"] for each in marked] != [name]):
                wrong.append((path, name, text, [each.attrs for each in marked]))
            wrong += [(path, name, other, each) for other, each in kept.items() if each not in ([], [filled[other]])]

    assert wrong == []
    assert changed(before, digests(sql, *BESIDE)) == set()


# Paths


FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
MODES: dict[str, dict[str, str]] = {
    "keys": {},
    "AUTH=off": {"auth": "off"},
    "AUTH=off, for reading": {"auth": "off", "dashboard": "read"},
    "AUTH=off, no dashboard": {"auth": "off", "dashboard": "off"},
    "on loopback": {"host": "127.0.0.1"},
}


def with_an_empty_segment(app: Flask, job: str) -> list[str]:
    """Return the path of each route with each of its slashes doubled."""
    paths = {re.sub(r"<(\w+:)?\w+>", job, rule.rule) for rule in app.url_map.iter_rules()}
    places = [(path, place) for path in paths for place, char in enumerate(path) if char == "/"]
    return sorted({"///", "///ui/jobs", *(f"{path[:place]}/{path[place:]}" for path, place in places)})


def ask(client: FlaskClient, method: str, path: str, headers: Mapping[str, str]) -> int:
    """Return the status of the answer. The path is set by itself: in a URL `//ui` would be a host."""
    return client.open("/", method=method, headers=headers, environ_overrides={"PATH_INFO": path}).status_code


def test_answers_404_to_every_path_with_an_empty_segment(
    make_site: MakeSite, make_key: MakeKey, conn: Connection, sql
) -> None:
    job, (_, admin) = str(enqueue(conn)), make_key()
    clients = {mode: make_site(**settings).test_client() for mode, settings in MODES.items()}
    paths = with_an_empty_segment(make_site(), job)

    found = {
        (mode, method, path): ask(client, method, path, headers)
        for mode, client in clients.items()
        for path in paths
        for method, headers in (
            ("GET", {}),
            ("POST", {**FOREIGN, **(admin if mode == "keys" else {})}),
            ("OPTIONS", FOREIGN),
        )
    }

    assert {"//ui/jobs/{job}/cancel", "/ui//jobs/{job}/cancel", "//jobs/{job}/cancel"} <= {
        path.replace(job, "{job}") for path in paths
    }
    assert {at: status for at, status in found.items() if status != 404} == {}
    assert sql("SELECT status FROM haulier.jobs") == [("queued",)]
    # The trailing slash is left to the check of the key.
    assert [clients["keys"].get("/jobs/", headers=each).status_code for each in ({}, admin)] == [401, 404]


def test_shows_an_error_before_it_knows_who_looks(site: Flask, signed_in: SignedIn, caplog) -> None:
    caplog.set_level(logging.INFO)
    browser = signed_in()

    def fail() -> None:
        raise NotFound

    # What fails before a guard has looked at the request, whatever that is.
    site.before_request_funcs[None].insert(0, fail)
    answers = [each.get("/ui/jobs") for each in (browser, Browser(site))]

    assert [answer.status_code for answer in answers] == [404] * 2
    assert [faults(read(answer.text)) for answer in answers] == [[]] * 2
    assert "Traceback" not in caplog.text
