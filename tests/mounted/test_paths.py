"""Every link, form, redirect, header and cookie of every call stays below the path at which Haulier is mounted."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection
from werkzeug.test import TestResponse

from app.web.kit import cookies
from haulier.domain.api_key import Scope, hash_of
from haulier.queue.access import sessions
from tests.http.callers import MakeKey
from tests.mounted import MOUNT
from tests.web.browsing import Browser, MakeSite, new_key
from tests.web.calls import Call, Caller, calls_of
from tests.web.world import make_world

HERE = {"base_url": f"http://localhost{MOUNT}"}
LINKS = ("href", "src", "action", "formaction")
# The value of an attribute or property that is a path from the root of the host, in a script.
IN_SCRIPTS = re.compile(rb"""(?<!\$=)["'`](/[a-z][^"'`]*)""")


@pytest.fixture
def site(make_site: MakeSite) -> Flask:
    return make_site(is_mounted=True)


@pytest.fixture
def caller(site: Flask, make_key: MakeKey, conn: Connection) -> Caller:
    """Give a caller that may do everything, by a key and by a session."""
    world = make_world(conn, "mail")
    key, world.names["token"] = new_key(make_key, Scope.ADMIN)
    token = world.names["token"]
    session = sessions.open_session(conn, key_id=key.id, key_hash=hash_of(token), idle_seconds=600)
    browser = Browser(site, key)
    browser.client.set_cookie("haulier", session, path=MOUNT)
    return Caller(browser, world, {"Authorization": f"Bearer {token}"}, cookies.signed(session, "csrf"))


def places(answer: TestResponse) -> Iterator[tuple[str, str]]:
    """Yield each place to which an answer leads, by what it is called there."""
    if "Location" in answer.headers:
        yield "Location", answer.headers["Location"]
    for link in re.findall("<(.*?)>", answer.headers.get("Link", "")):
        yield "Link", link
    for cookie in answer.headers.getlist("Set-Cookie"):
        yield "Set-Cookie", re.findall("; Path=([^;]*)", cookie)[0]
    if answer.mimetype == "text/html":
        yield from in_page(answer.text)
    elif answer.mimetype == "application/json" and answer.data:
        yield from (("JSON", text) for text in texts_in(json.loads(answer.data)) if re.match("/[a-z]", text))
    elif answer.mimetype == "text/javascript":
        yield from (("script", path.decode()) for path in IN_SCRIPTS.findall(answer.data) if "swagger" not in str(path))


def in_page(text: str) -> Iterator[tuple[str, str]]:
    yield from ((name, html.unescape(value)) for name, value in re.findall(rf' ({"|".join(LINKS)})="(.*?)"', text))
    yield from (("next", html.unescape(value)) for value in re.findall('name="next" value="(.*?)"', text))


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(each)


def test_no_link_form_header_or_cookie_leaves_the_mount(site: Flask, caller: Caller) -> None:
    *calls, sign_in = calls_of(site)
    lists = [Call(call.method, call.rule, call.route, f"{call.path}?limit=1") for call in calls if call.rule == "/jobs"]
    seen: Counter[str] = Counter()
    leaving = []

    for call in [*lists[:1], *calls, sign_in]:
        answer = caller.make(call, **HERE)
        for name, place in places(answer):
            seen[name] += 1
            path = urlsplit(urljoin(f"{HERE['base_url']}{call.path}", place)).path
            if not f"{path}/".startswith(f"{MOUNT}/"):
                leaving.append((call.method, call.rule, name, place))

    assert leaving == []
    assert seen.keys() >= {*LINKS, "Location", "Link", "Set-Cookie", "next", "JSON"}
    assert seen.total() > 1000
