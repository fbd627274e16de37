"""No header that a caller may choose switches a guard off."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader, BytesIO
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.http.limits.fault_limit import Failures
from haulier.domain.api_key import Scope
from haulier.domain.neighbour import PROXY_PREFIXES
from tests.http.callers import MakeKey, door_of
from tests.web.browsing import SAME, Browser, MakeSite, form, new_key

# What a program may send, and a page to its own host after DNS rebinding: all but Host, Origin, Cookie and Sec-…
HEADERS: tuple[dict[str, str], ...] = (
    *({f"{prefix.rstrip('-')}-For": "192.0.2.7"} for prefix in PROXY_PREFIXES),
    *({name: "127.0.0.1"} for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "Remote-Addr", "Client-IP")),
    *({name: "localhost"} for name in ("X-Forwarded-Host", "X-Host", "X-Original-Host", "X-HTTP-Host-Override")),
    *({name: "https"} for name in ("X-Forwarded-Proto", "X-Scheme", "X-Url-Scheme")),
    *({name: "/health"} for name in ("X-Original-URL", "X-Rewrite-URL", "X-Script-Name", "X-Forwarded-Prefix")),
    *({name: "GET"} for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")),
    *({name: "admin"} for name in ("Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Auth-Request-User")),
    *({name: "let-me-in"} for name in ("X-API-Key", "Proxy-Authorization", "X-Request-Id", "Idempotency-Key")),
    {"Forwarded": "for=127.0.0.1;host=localhost;proto=https"},
    {"Via": "1.1 localhost"},
    {"Authorization": "Basic YTpi"},
    {"Referer": "http://localhost/ui"},
    {"Connection": "Authorization, Origin, Host"},
    {"Expect": "100-continue"},
    {"Upgrade": "websocket"},
    {"X-Requested-With": "XMLHttpRequest"},
    {"Purpose": "prefetch"},
    {"Haulier-Live": "1"},
    {"Accept": "*/*"},
    {"If-None-Match": "*"},
    {"Range": "bytes=0-0"},
)
# As nginx speaks to what is behind it.
HTTP_1_0 = {"SERVER_PROTOCOL": "HTTP/1.0"}
PUT_OFF = b'{"until": "2099-01-01T00:00:00Z"}'
JSON = {"Content-Type": "application/json"}

# Sends a request with these headers and this WSGI environment.
Send = Callable[[dict[str, str], dict[str, Any]], TestResponse]


@pytest.fixture
def guards(make_site: MakeSite, make_key: MakeKey) -> dict[str, tuple[int, Send]]:
    """Give each guard: with which status it refuses, and what sends a request that it has to refuse."""

    def sender(settings: dict[str, Any], method: str, path: str, **options: Any) -> Send:
        client, own, over = make_site(**settings).test_client(), options.pop("headers", {}), options.pop("over", {})

        def send(headers: dict[str, str], environ: dict[str, Any]) -> TestResponse:
            given = {name: make() if callable(make) else make for name, make in over.items()}
            # What the guard looks at stays, since a browser sets it, or the request would be another.
            return client.open(
                path, method=method, headers={**headers, **own}, environ_overrides={**environ, **given}, **options
            )

        return send

    _, reader = make_key(Scope.READ)
    _, of_mail = make_key(Scope.ADMIN, queues=["mail"])
    _, hasty = make_key(Scope.ADMIN, rate_limit=0.001)
    _, admin = make_key(Scope.ADMIN)
    evil, pause = {"Origin": "http://evil.example"}, ("POST", "/queues/mail/pause")
    no_keys: dict[str, dict[str, Any]] = {
        "on loopback": {"host": "127.0.0.1", "auth": "off"},
        "mounted": {"host": "127.0.0.1", "auth": "off", "is_mounted": True},
    }
    found: dict[str, tuple[int, Send]] = {}
    for where, settings in no_keys.items():
        for kind, headers in {"host": {"Host": "evil.example"}, "origin": evil}.items():
            found[f"{kind}, {where}"] = 403, sender(settings, "GET", "/jobs", headers=headers)
            found[f"{kind} of an act, {where}"] = 403, sender(settings, *pause, headers=headers)
    found |= {
        "origin, open to all": (403, sender({"auth": "off"}, *pause, headers=evil)),
        "site, open to all": (403, sender({"auth": "off"}, *pause, headers={"Sec-Fetch-Site": "cross-site"})),
        "key": (401, sender({}, "GET", "/jobs")),
        "key, mounted": (401, sender({"host": "127.0.0.1", "is_mounted": True}, "GET", "/jobs")),
        "key, after the first": (401, sender({"host": "127.0.0.1"}, "GET", "/jobs")),
        "metrics token": (401, sender({"auth": "off", "metrics_token": "x" * 16}, "GET", "/metrics")),
        "scope": (403, sender({}, *pause, headers=reader)),
        "queue": (403, sender({}, "GET", "/audit", headers=of_mail)),
        "rate": (429, sender({}, "GET", "/jobs", headers=hasty)),
        "length": (413, sender({}, *pause, headers={**admin, **JSON}, data=b" " * (2**20 + 1))),
        "chunks without an end": (
            400,
            sender(
                {"is_mounted": True},
                *pause,
                headers={**admin, **JSON},
                over={
                    "HTTP_TRANSFER_ENCODING": "chunked",
                    "CONTENT_LENGTH": str(len(PUT_OFF)),
                    "wsgi.input": lambda: BufferedReader(BytesIO(PUT_OFF)),
                },
            ),
        ),
        "type": (415, sender({}, *pause, headers={**admin, "Content-Type": "text/plain"}, data=PUT_OFF)),
        "encoding": (415, sender({}, *pause, headers={**admin, **JSON, "Content-Encoding": "gzip"}, data=PUT_OFF)),
        "session": (303, sender({}, "GET", "/ui/jobs")),
        "form": (403, sender({"auth": "off"}, "POST", "/ui/settings", data={"csrf": "x"}, headers=SAME)),
        "dashboard off": (404, sender({"auth": "off", "dashboard": "off"}, "GET", "/ui/jobs")),
    }
    assert found["rate"][1]({}, {}).status_code == 200
    return found


def test_no_header_switches_a_guard_off(guards: dict[str, tuple[int, Send]], sql) -> None:
    every = {name: value for header in HEADERS for name, value in header.items()}
    before = {name: send({}, {}).status_code for name, (_, send) in guards.items()}

    opened = [
        (name, headers, environ, status)
        for name, (refused, send) in guards.items()
        for headers, environ in (*((header, {}) for header in HEADERS), ({}, HTTP_1_0), (every, HTTP_1_0))
        if (status := send(headers, environ).status_code) != refused and not 400 <= status < 500
    ]

    assert before == {name: refused for name, (refused, _) in guards.items()}
    assert opened == []
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]


def test_no_header_makes_another_address_of_a_caller(make_site: MakeSite) -> None:
    site = make_site()
    # None is given back during the test.
    door_of(site)._failed_sign_ins = Failures(1e-6, 1)
    browser = Browser(site)
    fields = form(browser.page("/ui/sign-in"), "/ui/sign-in")

    found = [
        browser.post("/ui/sign-in", {**headers, **SAME}, **{**fields, "key": "wrong"}).status_code
        for headers in ({}, *HEADERS)
    ]

    assert found == [403, *[429] * len(HEADERS)]


def test_no_header_makes_a_cookie_less_secure(make_site: MakeSite, make_key: MakeKey) -> None:
    site = make_site()
    token = new_key(make_key, Scope.ADMIN)[1]
    for headers in HEADERS:
        browser = Browser(site, base_url="https://localhost")
        fields = form(browser.page("/ui/sign-in"), "/ui/sign-in")

        entered = browser.post(
            "/ui/sign-in", {**headers, **SAME, "X-Forwarded-Proto": "http"}, **{**fields, "key": token}
        )

        [cookie] = [each for each in entered.headers.getlist("Set-Cookie") if each.startswith("__Host-haulier=")]
        assert ("; Secure" in cookie, "; HttpOnly" in cookie, "SameSite=Strict" in cookie) == (True,) * 3, headers
