"""Forms that are filled in wrongly: it ..."""

from __future__ import annotations

import json
from typing import Any

from psycopg2.extensions import connection as Connection

from tests.web.browsing import Browser, Element
from tests.web.forms import TIMED
from tests.web.jobs import EMAIL
from tests.web.world import changed, digests, make_world

# What pages and guards may write that refuse a form.
BESIDE = ("rollup", "depth", "moved", "counting", "error_count", "preview", "rate_budget", "api_key", "session")
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
            ("name", "new", "cannot be called new"),
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
            ("scopes", [], "Choose one at least."),
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
