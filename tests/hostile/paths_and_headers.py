"""Paths, queries and headers that the service must refuse, or answer without harm."""

from __future__ import annotations

import re
from collections.abc import Iterator

from haulier.domain.job import NAME_PATTERN
from tests.hostile.wire import EMAIL, HARMLESS, REFUSED, SOME_ID, TEXT, Hostile, post, request

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
PREFIXES = [
    *("/ui", "/ui/sign-in", f"/ui/jobs/{SOME_ID}/cancel", f"/jobs/{SOME_ID}/cancel", "/metrics", "/health", "/docs"),
]
EMPTY_SEGMENTS = ["/{}", "//{}", "http://localhost/{}", "/%2F{}", "/%2f%2F{}", "{}//", "{}/%2f", "/{}?x=/ui"]
# Of figures and queues, with the values of the same names below; `limit` is read as that of /jobs.
OTHER_QUERIES = {
    "/jobs/count": [
        *("status", "kind", "queue", "error", "tag", "worker", "attempts_min", "payload..", "payload."),
        *("created_after", "created_before", "finished_after", "finished_before", "limit", "cursor", "unknown"),
    ],
    "/stats": ["span", "queue", "kind", "unknown"],
    "/queues": ["limit", "cursor", "unknown"],
    "/workers": ["limit", "cursor", "unknown"],
    "/errors": ["span", "queue", "kind", "limit", "unknown"],
    "/keys": ["limit", "cursor", "unknown"],
    "/operations": ["status", "limit", "cursor", "unknown"],
    "/audit": ["job", "actor", "action", "target", "after", "before", "limit", "cursor", "unknown"],
}
SPANS = ["", "0h", "2H", "1h;", "-1h", "9999999999d", "1 hour", "{{7*7}}", "' OR 1=1 --", "%00", "a" * 3000]
QUERIES = {
    "status": ["", "x", "QUEUED", "queued'", "queued%00", "queued,running", "' OR 1=1 --", "\ufeffqueued", "null"],
    "kind": ["", "X", "a b", "a" * 65, "'; DROP TABLE haulier.job; --", "{{7*7}}", "%00", "a\r\nb", "ünder", "[]"],
    "queue": ["", "Q", "a/b", "../x", "' UNION SELECT 1 --", "a\x00", "q" * 3000, "*"],
    "sort": ["", "x", "DUE", "due'", "due%00", "due,started", "-created_at", "id; DROP TABLE haulier.job", "due"],
    "limit": ["", "x", "1.5", "1e3", "+5", " 5", "0x10", "٣", "NaN", "null", "true", "1,000", "--1", "5;DROP"],
    "offset": ["", "x", "-1", "10001", "2147483647", "2147483648", "9" * 3000, "1.0", "-0x1", "²"],
    "created_after": ["", "now()", "2026-01-01", "2026-01-01T00:00:00", "infinity", "9999-12-31T23:59:59-12:00"],
    "created_before": [
        *("0000-00-00T00:00:00Z", "2026-13-01T00:00:00Z", "-infinity", "1 OR 1", "2026-01-01T00:00:00+99:99"),
    ],
    "cursor": ["", "x", "A" * 33, "B" + "A" * 31, "A" * 31 + "=", "A" * 31 + "/", "null", "e30=", "' OR 1", "A" * 3000],
    "error": [
        *("", "x", "0", "-7", "0123456789ABCDEF", "0123456789abcde", "0" * 17, "9" * 3000, "' OR 1=1", "%00", "null"),
    ],
    "worker": ["", "x", "0", "me", "' OR 1=1 --", "%00", "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b1", "9" * 3000, "null"],
    "key": ["", " ", "a b", "é", "a\r\nb", "k" * 256, "\x7f"],
    "tag": ["", "x" * 65, "a\x00", "\x00"],
    "attempts_min": ["", "x", "-1", "1001", "1.0", "1e2", "9" * 3000, "NaN", "٣"],
    "finished_after": ["", "now()", "2026-01-01", "infinity", "9999-12-31T23:59:59-12:00", "' OR 1=1 --"],
    "finished_before": ["", "0000-00-00T00:00:00Z", "-infinity", "2026-01-01T00:00:00+99:99"],
    "payload.a": ["a\x00", "x" * 1001],
    "payload.": ["1", "' OR 1=1 --"],
    "payload..": ["1"],
    "payload.a..b": ["1"],
    "payload.a\x00": ["1"],
    "payload." + "x" * 201: ["1"],
    "job": ["", "x", "0", "{" + SOME_ID[:-1] + "}", SOME_ID + "0", "' OR 1=1 --", "null", "9" * 3000],
    "actor": ["", "a\x00", "\x00", "x" * 201],
    "target": ["", "a\x00", "\x00", "x" * 201],
    "action": ["", "x", "CANCEL", "cancel'", "cancel,retry", "cancel\x00", "' OR 1=1 --", "create-key", "null"],
    "after": ["", "now()", "2026-01-01", "infinity", "9999-12-31T23:59:59-12:00", "' OR 1=1 --"],
    "before": ["", "0000-00-00T00:00:00Z", "-infinity", "2026-01-01T00:00:00+99:99"],
    "unknown": ["1", "' OR 1=1 --", "{{7*7}}"],
    "status[]": ["queued"],
    "__proto__": ["x"],
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
            for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
                sent = request(method, target, headers={"Origin": "http://evil.example"})
                yield Hostile(f"{method} {target}", sent, allowed=(404,))


# Calls on one thing, with {} for its name; and those that are a list's if there is no name.
ON_ONE = [
    *(("POST", f"/jobs/{{}}/{verb}") for verb in ("cancel", "retry", "copy")),
    *(("GET", f"/jobs/{{}}/{what}") for what in ("explain", "timeline")),
    *((method, "/jobs/{}") for method in ("PATCH", "DELETE")),
    *(("POST", f"/keys/{{}}/{verb}") for verb in ("rotate", "revoke")),
    *(("POST", f"/schedules/{{}}/{verb}") for verb in ("run", "pause", "resume")),
    *(("GET", f"/schedules/{{}}/{what}") for what in ("ticks", "explain")),
    *((method, "/schedules/{}") for method in ("PUT", "DELETE")),
    *(("POST", f"/operations/{{}}/{verb}") for verb in ("cancel", "resume", "advance")),
    ("PATCH", "/workers/{}"),
]
LISTED = ["/jobs/{}", "/queues/{}", "/schedules/{}", "/errors/{}", "/workers/{}", "/operations/{}"]


def paths() -> Iterator[Hostile]:
    """Yield requests for what is not there."""
    for name in IDS:
        for method, path in ON_ONE:
            yield Hostile(f"{method} {path} of {name:.60}", request(method, path.replace("{}", name)))
        for path in LISTED:
            allowed = REFUSED if name else HARMLESS
            yield Hostile(f"GET {path} of {name:.60}", request("GET", path.replace("{}", name)), allowed=allowed)
        # Any name may be a queue's.
        if not re.fullmatch(NAME_PATTERN, name):
            for verb in ("pause", "resume"):
                yield Hostile(f"{verb} the queue {name:.60}", request("POST", f"/queues/{name}/{verb}"))
    for path in PATHS:
        # Further slashes before a path are none to werkzeug.
        yield Hostile(f"path {path:.60}", request("GET", path), allowed=HARMLESS if path == "//jobs" else REFUSED)


def queries() -> Iterator[Hostile]:
    """Yield lists of jobs with queries that mean nothing."""
    for name, values in QUERIES.items():
        for value in values:
            yield Hostile(f"?{name}={value!r:.60}", request("GET", f"/jobs?{name}={quoted(value)}"))
    for path, names in OTHER_QUERIES.items():
        for name in names:
            # Any text may be a tag, an actor or a target.
            for value in [*QUERIES.get(name, []), *(() if name in ("tag", "actor", "target") else SPANS)]:
                # Well-formed names and ids, after which queues and keys may be listed.
                pattern = {"/queues": NAME_PATTERN, "/keys": r"[a-z0-9]{1,32}"}.get(path) if name == "cursor" else None
                is_name = pattern is not None and re.fullmatch(pattern, value) is not None
                allowed = HARMLESS if is_name else REFUSED
                target = f"{path}?{name}={quoted(value)}"
                yield Hostile(f"{path}?{name}={value!r:.60}", request("GET", target), allowed=allowed)
    for query in ODD_QUERIES:
        yield Hostile(f"?{query:.60}", request("GET", f"/jobs?{query}"))
    for query in HARMLESS_QUERIES:
        yield Hostile(f"?{query:.60}", request("GET", f"/jobs?{query}"), allowed=HARMLESS)
    for value in ["", "1", "TRUE", "false'", "null", "[]"]:
        yield Hostile(f"?atomic={value}", post(f"/jobs/batch?atomic={quoted(value)}", [EMAIL]))


KEYS = ["", '""', "a b", "é", "a\tb", "k" * 256, '"' + "k" * 256 + '"', "\x7f"]
# On a request that is read only, or refused for another reason.
HEADER_LINES = {
    "X-Request-Id": ["a\tb", "<script>", "x" * 5000, "' OR 1=1 --", "é", "a;b", "${jndi:ldap://127.0.0.1:{ear}/a}"],
    "Host": [
        *("", "evil.example", "127.0.0.1:{ear}", "a b", "[::1", "localhost:99999", "x" * 3000, "evil.example/path"),
        "é",
    ],
    "Origin": ["null", "http://evil.example", "file://", "http://127.0.0.1:{ear}"],
    "Referer": ["http://127.0.0.1:{ear}/", "javascript:alert(1)"],
    "Cookie": ["session=" + "x" * 4000, "a=b; " * 500, "__Host-x=1"],
    "Authorization": ["", "Basic", "Basic !!!", "Bearer", "Bearer ' OR 1=1 --", "Bearer " + "x" * 4000, "Negotiate x"],
    "Accept": ["", "x", "text/html;q=999", "*/*;q=-1", "application/xml, " * 200, "a/b;q=NaN"],
    "Accept-Encoding": ["gzip;q=x", "\x7f", "*" * 1000],
    "Range": ["bytes=0-", "bytes=" + "0-1," * 500, "bytes=-9999999999999999999", "lines=1-2"],
    "If-None-Match": ["*", '"' + "x" * 3000 + '"'],
    "If-Modified-Since": ["now", "Thu, 99 Foo 9999 99:99:99 GMT", "-1"],
    "Expect": ["100-continue", "200-ok", "x"],
    "Upgrade": ["h2c", "websocket", "TLS/1.0"],
    "X-Forwarded-For": ["127.0.0.1", "' OR 1=1 --", "x" * 3000, ", ,, "],
    "X-Forwarded-Host": ["evil.example", "127.0.0.1:{ear}"],
    "X-Forwarded-Proto": ["https", "javascript"],
    "X-Forwarded-Prefix": ["/../..", "//evil.example"],
    "Forwarded": ["for=127.0.0.1;host=evil.example;proto=https", 'for="[::1]"', ";;;"],
    "X-Original-URL": ["/admin"],
    "X-HTTP-Method-Override": ["DELETE", "POST"],
    "Script-Name": ["/x", "http://evil.example"],
    "Max-Forwards": ["0", "x"],
    "Accept-Language": ["../../etc/passwd", "{{7*7}}"],
    "User-Agent": ["() { :; }; echo x", "{{7*7}}", "\x1b[31m"],
    "Proxy": ["http://127.0.0.1:{ear}"],
    "Metadata-Flavor": ["Google"],
}
METHODS = [
    *("PUT", "PATCH", "DELETE", "TRACE", "TRACK", "PROPFIND", "MKCOL", "LOCK", "DEBUG", "FROBNICATE", "PURGE"),
    "SEARCH",
]
TARGETS = ["/jobs", f"/jobs/{SOME_ID}", "/jobs/batch", "/health", "/metrics", "/docs", "/"]


def headers() -> Iterator[Hostile]:
    """Yield headers that lie, inject or overflow."""
    for key in KEYS:
        yield Hostile(f"Idempotency-Key {key!r:.60}", post("/jobs", EMAIL, headers={"Idempotency-Key": key}))
    for name, values in HEADER_LINES.items():
        for value in values:
            for path in ("/jobs", "/docs"):
                sent = request("GET", path, headers={name: value})
                yield Hostile(f"{path} {name}: {value!r:.60}", sent, allowed=HARMLESS)
    for method in METHODS:
        for target in TARGETS:
            yield Hostile(f"{method} {target}", request(method, target, TEXT))
    yield Hostile("key in a batch", post("/jobs/batch", [EMAIL], headers={"Idempotency-Key": "k"}))
