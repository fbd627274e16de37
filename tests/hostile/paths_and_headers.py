"""Paths, queries and headers that the service must refuse, or answer without harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from haulier.domain.job import NAME_PATTERN
from tests.hostile.wire import EMAIL, HARMLESS, REFUSED, SOME_ID, TEXT, Hostile, post, request
from tests.http.api_calls import CALLS

IDS = [
    *("", "x", "0", "-1", "null", "undefined", "..", "%2e%2e", "*", SOME_ID[:-1], SOME_ID + "0"),
    *(SOME_ID.replace("-", ""), SOME_ID.upper() + "g", "{" + SOME_ID + "}", "urn:uuid:" + SOME_ID, SOME_ID + "%00"),
    *(SOME_ID + "%0a", SOME_ID + "%20", "%27%20OR%201=1%20--", "1;DROP%20TABLE%20haulier.job", "%7B%7B7*7%7D%7D"),
    *("%ef%bc%90" * 36, "%f0%9f%98%80", "%ff", "9" * 3000, "%", "%zz", "%u0041", "a%2fb", "a\\b", SOME_ID + ";x=1"),
    *(SOME_ID + "/", "/" + SOME_ID, "%25" * 200, "00000000-0000-0000-0000-000000000000"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", SOME_ID),
]
PATHS = [
    *("/docs/assets/../../../../etc/passwd", "/docs/assets/..%2f..%2f..%2fetc%2fpasswd"),
    *("/docs/assets/%2fetc%2fpasswd", "/docs/assets/....//....//etc/passwd", "/docs/assets/..%5c..%5cwin.ini"),
    *("/docs/assets/%00", "/docs/assets/.", "/docs/assets/%252e%252e%252fetc%252fpasswd", "/docs/assets/C:%5cwindows"),
    *("/docs/assets/nul", "//docs/assets/x", "/docs/assets/..%c0%afetc", "/docs/assets/~root"),
    *("/docs/assets/" + "a/" * 500, "/docs/assets/" + "a" * 300, "/docs/../jobs/x", "/./jobs/x", "//jobs", "/jobs//"),
    *("/jobs/", "/JOBS", "/jobs%2f", "/jobs%00", "/jobs;a=b", "/jobs%0d%0aSet-Cookie:%20x=1", "/\\evil.example"),
    *("//evil.example/%2e%2e", "/%2fevil.example", "/.git/config", "/.env", "/static/x", "/console"),
    *("/__debugger__=yes", "/wp-login.php", "/cgi-bin/%2e%2e/sh", "/api/v1/jobs", "/jobs/batch/x", "/health/"),
    *("/metrics/x", "/api-docs/../../x", "/api-docs/openapi.yaml", "/%e2%80%ae", "/%80"),
]
# What the guards are about, and ways to write it with an empty segment.
PREFIXES = ["/ui", "/ui/sign-in", f"/ui/jobs/{SOME_ID}/cancel", f"/jobs/{SOME_ID}/cancel", "/metrics", "/docs"]
EMPTY_SEGMENTS = ["/{}", "//{}", "http://localhost/{}", "/%2F{}", "/%2f%2F{}", "{}//", "{}/%2f", "/{}?x=/ui"]
# tests/api/test_refused_requests.py has what is nearly right. No parameter with a form of its own takes these.
ODD = [
    *("", "X", "a b", "' OR 1=1 --", "x'; DROP TABLE haulier.job; --", "{{7*7}}", "%00", "a\x00", "a\r\nb", "٣", "[]"),
    *("\ufeffqueued", "../x", "1,000", "9" * 3000, "a" * 3000),
]
WITH_A_FORM = {
    "/jobs": "status kind queue sort limit offset created_after created_before cursor error worker attempts_min "
    "finished_after finished_before unknown status[] __proto__",
    "/jobs/count": "status kind queue error worker attempts_min created_after created_before finished_after "
    "finished_before limit cursor unknown",
    "/stats": "span queue kind unknown",
    "/queues": "limit cursor unknown",
    "/workers": "limit cursor unknown",
    "/errors": "span queue kind limit unknown",
    "/keys": "limit cursor unknown",
    "/operations": "status limit cursor unknown",
    "/audit": "job action after before limit cursor unknown",
}
OF_TEXT = {
    **{"/jobs?key": ["", " ", "a b", "é", "a\r\nb", "k" * 256, "\x7f"], "/jobs?tag": ["", "x" * 65, "a\x00"]},
    **{f"/jobs?payload.{path}": ["1", "' OR 1=1 --"] for path in ("", ".", "a..b", "a\x00", "x" * 201)},
    **{"/jobs?payload.a": ["a\x00", "x" * 1001], "/audit?actor": ["", "a\x00", "x" * 201]},
    "/audit?target": ["", "a\x00", "x" * 201],
}
# Well formed, and far out.
HARMLESS_QUERIES = [
    *("limit=-5", "limit=" + "9" * 3000, "limit=-" + "9" * 3000, "offset=10000", "cursor=" + "A" * 32),
    *("cursor=A" + "_" * 31, "cursor=AA" + "_" * 30, "created_after=1000-01-01T00:00:00Z"),
    *("created_before=9998-12-31T23:59:60Z", "status=queued&status=queued"),
    *("tag=' OR 1=1 --&tag={a,NULL}&tag=NULL&tag=%7B%7B7*7%7D%7D&tag=%5C%22", "payload.a'%3B--=' OR 1=1 --"),
    *("payload.%22%5C%7B%7D,NULL=%7B%7B7*7%7D%7D", "payload.a.0.-1.99999999999999999999=x"),
    *("payload." + "a." * 99 + "a=x", "payload.a=", "&".join(f"queue=q{n}" for n in range(20))),
    "sort=due&queue=drop.table&status=queued&status=retrying",
    *("sort=started&status=running&kind=drop.table&worker=" + SOME_ID, "kind=drop.table", "queue=select-1"),
    *("limit=0&offset=0", "&&&", "?", "limit=1#x"),
]
ODD_QUERIES = [
    *("key=a&key=b", "payload.a=1&payload.a=2", "&".join(f"payload.a{n}=1" for n in range(6))),
    *("&".join(f"kind=k{n}" for n in range(21)), "&".join(f"tag=t{n}" for n in range(21)), "limit=1&limit=2"),
    *("sort=started", "sort=due&queue=mail&status=queued", "sort=started&status=running&payload.a=1"),
    *("sort=started&status=running&sort=started", "sort=started&status=running&offset=0"),
    *("offset=1&cursor=" + "A" * 32, "=x", "=", "limit", "%", "%zz=1", "&".join(f"a{n}=1" for n in range(500))),
    *("a=" + "b" * 3900, "limit=5%00", "%00=1", "%ff=%fe", "limit=%ff", ";", "a;b"),
]


def quoted(text: str) -> str:
    """Return the text with what would break the request's first line escaped, and nothing else."""
    return "".join(char if "!" <= char <= "~" and char not in '#&+%"' else _percent(char) for char in text)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def empty_segments() -> Iterator[Hostile]:
    """Yield requests whose path begins with two slashes, or has an empty segment."""
    for path in PREFIXES:
        for written in EMPTY_SEGMENTS:
            target = written.format(path)
            for method in ("GET", "POST"):
                sent = request(method, target, headers={"Origin": "http://evil.example"})
                yield Hostile(f"{method} {target}", sent, allowed=(404,))


def paths() -> Iterator[Hostile]:
    on_one = [call.split() for call in CALLS if "{" in call]
    for name in IDS:
        for method, path in on_one:
            # Any name may be a queue's.
            if not (method == "POST" and path.startswith("/queues") and re.fullmatch(NAME_PATTERN, name)):
                allowed = HARMLESS if method == "GET" and not name else REFUSED
                sent = request(method, re.sub("{.*}", lambda _: name, path))  # noqa: B023
                yield Hostile(f"{method} {path} of {name:.60}", sent, allowed=allowed)
    for path in PATHS:
        # Further slashes before a path are none to werkzeug.
        yield Hostile(f"path {path:.60}", request("GET", path), allowed=HARMLESS if path == "//jobs" else REFUSED)


def queries() -> Iterator[Hostile]:
    strict = {f"{path}?{name}": ODD for path, names in WITH_A_FORM.items() for name in names.split()}
    for asked, values in (strict | OF_TEXT).items():
        path, _, name = asked.partition("?")
        for value in values:
            # Digits are a limit, however many.
            allowed = HARMLESS if name == "limit" and value[:1] == "9" else REFUSED
            target = f"{path}?{quoted(name)}={quoted(value)}"
            yield Hostile(f"{asked:.60}={value!r:.60}", request("GET", target), allowed=allowed)
    for query in ODD_QUERIES:
        yield Hostile(f"?{query:.60}", request("GET", f"/jobs?{query}"))
    for query in HARMLESS_QUERIES:
        yield Hostile(f"?{query:.60}", request("GET", f"/jobs?{query}"), allowed=HARMLESS)
    for value in ["", "1", "TRUE", "false'", "null", "[]"]:
        yield Hostile(f"?atomic={value}", post(f"/jobs/batch?atomic={quoted(value)}", [EMAIL]))


KEYS = ["", '""', "a b", "é", "a\tb", "k" * 256, '"' + "k" * 256 + '"', "\x7f"]
# On a request that is read only, or refused for another reason.
NAMES = (
    "X-Request-Id Host Origin Referer Cookie Authorization Accept Accept-Encoding Accept-Language Range If-None-Match "
    "If-Modified-Since Expect Upgrade X-Forwarded-Host X-Forwarded-Prefix Forwarded X-Original-URL "
    "X-HTTP-Method-Override Script-Name Max-Forwards User-Agent Proxy Metadata-Flavor"
)
LIES = [
    *("", "a b", "é", "' OR 1=1 --", "{{7*7}}", "() { :; }; echo x", "a/b;q=NaN, */*;q=-1", "Bearer " + "x" * 4000),
    *(
        "http://127.0.0.1:{ear}/",
        "${jndi:ldap://127.0.0.1:{ear}/a}",
        "[::1",
        "bytes=" + "0-1," * 500,
        "../../etc/passwd",
    ),
    *("for=127.0.0.1;host=evil.example;proto=https", "-1", "h2c"),
]
METHODS = ["PUT", "PATCH", "DELETE", "TRACE", "TRACK", "PROPFIND", "MKCOL", "LOCK", "DEBUG", "FROBNICATE", "SEARCH"]
TARGETS = ["/jobs", f"/jobs/{SOME_ID}", "/jobs/batch", "/health", "/metrics", "/docs", "/"]


def headers() -> Iterator[Hostile]:
    for key in KEYS:
        yield Hostile(f"Idempotency-Key {key!r:.60}", post("/jobs", EMAIL, headers={"Idempotency-Key": key}))
    for number, (name, value) in enumerate(product(NAMES.split(), LIES)):
        sent = request("GET", ("/jobs", "/docs")[number % 2], headers={name: value})
        yield Hostile(f"{name}: {value!r:.60}", sent, allowed=HARMLESS)
    for method in METHODS:
        for target in TARGETS:
            yield Hostile(f"{method} {target}", request(method, target, TEXT))
    yield Hostile("key in a batch", post("/jobs/batch", [EMAIL], headers={"Idempotency-Key": "k"}))
