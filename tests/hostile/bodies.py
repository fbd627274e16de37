"""Requests for jobs that the service must refuse, and jobs that lead inside, which only a run can judge."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from tests.hostile.wire import EMAIL, HARMLESS, JSON, TEXT, Hostile, post

NDJSON = "application/x-ndjson"

FIELDS = ("kind", "payload", "max_attempts", "idempotency_key", "queue", "priority", "run_at", "delay_seconds")
FIELDS += ("timeout_seconds",)

# Text that is wrong in every field of a request, each for another reader of it.
FRAGMENTS = [
    # SQL
    *("' OR 1=1 --", "'; DROP TABLE haulier.job; --", "1); SELECT pg_sleep(10); --", "$$; SELECT 1; $$"),
    *("\\'; SELECT 1", "'; COPY haulier.job TO PROGRAM 'id'; --"),
    # Python, templates, HTML and shells
    *("%(kind)s %s %% %n", "{0} {} {name} {self.__class__}", "__import__('os').system('id') x"),
    *("{{ 7*7 }} {% raw %} {{ config }}", "<%= 7*7 %>", "${7*7} #{7*7} *{7*7}", "${jndi:ldap://127.0.0.1:{ear}/a} x"),
    *("<script>alert(1)</script> x", '"><img src=x onerror=alert(1)>', "; $(id) `id` | nc 127.0.0.1 {ear}"),
    "../../../../etc/passwd ..\\..\\win.ini",
    # Ends of lines, for headers, logs and terminals
    *("a\r\nSet-Cookie: x=1", "a\n2026-01-01T00:00:00Z INFO forged", "a\u2028b\u2029c\u0085d"),
    "\x1b[31mred\x07 \x1b]0;title\x07",
    # Unicode
    *("\u202egnp.exe", "ｓｅｎｄ＿ｅｍａｉｌ", "ıİſK", "\ufeffsend_email", "e" + "\u0301" * 200, "👩‍👩‍👧‍👦 𝓴𝓲𝓷𝓭"),
    "\uffff\ufffe\U0010ffff",
    "x y " * 20_000,
]
# Values of the wrong type, or far outside, in every field.
WRONG: list[Any] = [True, [], {"a": {"b": []}}, 2**64 - 1, -(2**63), -1.5, 1e300, ""]

# tests/requests/test_strict_json.py has all that is malformed, for the parser alone.
MALFORMED: list[str | bytes] = [
    *("", TEXT[:-1], TEXT + TEXT, "{'kind': 'send_email'}", '{"kind": NaN}', '{"max_attempts": ' + "9" * 100_000 + "}"),
    *(TEXT[:-1] + ', "k\\u0069nd": "send_email"}', '{"kind": "a\\u0000"}', '{"kind": "\\ud800"}', "[" * 100_000),
    *(b'{"kind": "\xc0\xaf"}', b"\xef\xbb\xbf" + TEXT.encode(), TEXT.encode("utf-16"), b'+AHs-"kind": 1+AH0-', "null"),
    *(gzip.compress(TEXT.encode()), b"\x00" * 1000, b"\x80\x04cposix\nsystem\n(S'id'\ntR."),
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    '{"__proto__": {"kind": "send_email"}, "constructor": 1}',
    # Too long, in bytes or in fields
    TEXT + " " * (1024 * 1024 - len(TEXT) + 1),
    json.dumps({**EMAIL, **{f"f{n}": n for n in range(10_000)}}),
    *(json.dumps({"kind": "summarize_text", "payload": {"text": text}}) for text in ("x" * 300_000, "é" * 150_000)),
]

# (kind, field, values): each makes a payload that is else right wrong.
BASES: dict[str, dict[str, Any]] = {
    "send_email": EMAIL["payload"],
    "resize_image": {"source": "https://example.com/a.png"},
    "summarize_text": {"text": "Hi."},
    "webhook_delivery": {"url": "https://example.com/", "body": 1},
}
ADDRESSES = [
    *("a@b.c\r\nBcc: x@y.z", "a@b.c\nX: y", "a@b.c\x00", "a@b.c,x@y.z", "<a@b.c>", "a b@c.d", "@b.c", "a@", "a"),
    *("a@b.c\u2028Bcc: x@y.z", "a" * 400 + "@b.c", "a@b.c> RCPT TO:<x@y.z", "a@[1.2.3.4\r\n]", '"a\r\n"@b.c'),
]
URLS = [
    *("", "a", "//a/", "ftp://a/", "file:///etc/passwd", "gopher://127.0.0.1:{ear}/_x", "javascript:alert(1)"),
    *("http://", "http:///x", "http://a b/", "http://a/\r\nX: y", "http://a\\@b/", "http://a/\x00", "http:a"),
    *("data:,x", "http://a/" + "x" * 3000, "jar:http://a!/", "ldap://127.0.0.1:{ear}/", "\thttp://a/"),
]
# A source may be these: a run judges them. A long one is long for the sake of data: URLs.
TAKEN = ("file:///", "data:,", "http://a/xxx")
HEADERS: list[Any] = [
    *({"Host": "x"}, {"content-length": "0"}, {"Transfer-Encoding": "chunked"}, {"Connection": "x"}),
    *({"Webhook-Signature": "x"}, {"X": "a\r\nY: b"}, {"X": "a\x00"}, {"X\r\nY": "b"}, {"X Y": "b"}, {"": "x"}),
    *({"X:": "b"}, {"X": "é"}, {"X": 1}, {"X": ["a"]}),
    {f"x{n}": "y" for n in range(60)},
    *({"X": "y" * 5000}, []),
]
PAYLOADS: list[tuple[str, str, list[Any]]] = [
    ("send_email", "to", ADDRESSES),
    ("send_email", "cc", [["a@b.c"] * 101, ["a@b.c\r\nX: y"], {"a": 1}, [["a@b.c"]], 5]),
    ("send_email", "reply_to", ["a@b.c\r\nX: y", "x"]),
    ("send_email", "subject", ["a\r\nBcc: x@y.z", "a\nb", "a\x0bb", "a\x85b", "a\u2028b", "x" * 1000, 5, None, ["a"]]),
    ("send_email", "body", [5, None, {"a": 1}, "a\x00"]),
    ("webhook_delivery", "url", URLS),
    ("webhook_delivery", "headers", HEADERS),
    ("webhook_delivery", "event", ["a\r\nb", "a b", "", "x" * 200, 5, "é"]),
    ("webhook_delivery", "timeout", [1]),
    ("resize_image", "source", [*(url for url in URLS if not url.startswith(TAKEN)), "data:x"]),
    ("resize_image", "target", URLS),
    ("resize_image", "width", [0, -1, 7001, 2**63, 1.5, "640", True]),
    ("resize_image", "fit", ["stretch'", "", 5, ["cover"]]),
    ("resize_image", "format", ["svg", "eps", "pdf", "PNG", "../png"]),
    ("resize_image", "quality", [0, 101, -(2**63), "85"]),
    ("summarize_text", "text", ["", None, 5, ["a"], "a\x00"]),
    ("summarize_text", "sentences", [0, 51, 2**64 - 1, "3", 1.5]),
    ("summarize_text", "language", ["xx", "../en", "en'", 5]),
]

# Hosts with `{ear}`, the port of a listener that must hear nothing: five letters for five digits, so that lengths hold.
# Then those of clouds and networks. tests/kinds/outbound/test_addresses.py has every spelling.
HOSTS = ["127.0.0.1", "localhost", "0x7f.1", "①②⑦.0.0.1", "%31%32%37.0.0.1", "user@127.0.0.1", "[::1]"]
CLOUDS = ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "2852039166", "10.0.0.1", "224.0.0.1"]
PLACES = [f"http://{host}:{{ear}}/" for host in HOSTS] + [f"http://{host}/latest/meta-data/" for host in CLOUDS]
PLACES += ["http://[::1", "http://a..b/", "http://a:99999/", "http://127.0.0.1:22/", "http://127.0.0.1:5432/"]
FILES = ["/etc/passwd", "//localhost/etc/passwd", "/proc/self/environ", "../secret.png", "a/../../x.png", "/dev/zero"]
FILES += ["%2e%2e/secret.png", "..%2fsecret.png", "//evil.example/x.png", "~/x", "%00", "link.png", "."]
# Images that are small to send and large to hold, or none.
IMAGES = ["data:,x", "data:image/png;base64,!!!", "data:image/svg+xml,<svg/>", "data:,%25!PS-Adobe"]


def bodies() -> Iterator[Hostile]:
    for field in FIELDS:
        for value in [*FRAGMENTS, *WRONG]:
            yield Hostile(f"{field}: {value!r:.60}", post("/jobs", {**EMAIL, field: value}))
    for value in [*FRAGMENTS, *WRONG]:
        # Most of the texts may be tags, but none may be empty, and none twice.
        yield Hostile(f"a tag: {value!r:.60}", post("/jobs", {**EMAIL, "tags": ["", value, value]}))
        if value != []:
            yield Hostile(f"tags: {value!r:.60}", post("/jobs", {**EMAIL, "tags": value}))
    for body in MALFORMED:
        yield Hostile(f"body: {body!r:.80}", post("/jobs", body))
    for kind, field, values in PAYLOADS:
        for at, value in enumerate(values):
            payload = {**BASES[kind], field: value}
            yield Hostile(f"{kind}.{field} {at}: {value!r:.60}", post("/jobs", {"kind": kind, "payload": payload}))
    for text in FRAGMENTS:
        yield Hostile(f"an unknown field: {text!r:.60}", post("/jobs", {**EMAIL, text[:200]: 1}))
        yield Hostile(f"an unknown kind: {text!r:.60}", post("/jobs", {"kind": text, "payload": {text[:200]: text}}))
    # Were they looked up at the door, they would reach inside from here already; one other fault keeps them out.
    for place in PLACES:
        job = {"kind": "webhook_delivery", "payload": {"url": place, "body": 1}, "max_attempts": 0}
        yield Hostile(f"inside, and another fault: {place}", post("/jobs", job))


BATCHES: list[tuple[Any, str]] = [
    *((value, JSON) for value in ([], EMAIL, "null", [EMAIL] * 1001, [EMAIL] * 20 + [{}], [5, EMAIL], [[EMAIL]])),
    *((text, JSON) for text in (f"[{TEXT}", f"[{TEXT},]", f"[{TEXT}{TEXT}]", "[" * 50_000, f"[{TEXT}]x")),
    ([{**EMAIL, "idempotency_key": "a\nb"}], JSON),
    ([{**EMAIL, "idempotency_key": "k"}, {**EMAIL, "priority": 1, "idempotency_key": "k"}], JSON),
    ([{**EMAIL, "x": "y" * 1_100_000}], JSON),
    (b" " * (16 * 1024 * 1024 + 1), JSON),
    *(
        (text, NDJSON)
        for text in ("{}\n" * 10_001, "\n\n\n", f"{TEXT}\n{{\n", f"{TEXT}\u2028{TEXT}", f"{TEXT}\r{TEXT}")
    ),
    *((text, NDJSON) for text in (b"\xff\n", f"[{TEXT}]\n", f"{TEXT}\n\x00\n{TEXT}")),
]


def batches() -> Iterator[Hostile]:
    """Yield batches of which not one job may be stored."""
    for content, content_type in BATCHES:
        yield Hostile(f"batch: {content!r:.80}", post("/jobs/batch", content, content_type=content_type))
    # In a batch that is not atomic each job is by itself; here is none that is right.
    for text in FRAGMENTS:
        items = [{**EMAIL, "queue": text}, text, {"kind": text}]
        yield Hostile(f"not atomic: {text!r:.60}", post("/jobs/batch?atomic=false", items), allowed=HARMLESS)


TYPES = [
    *("", "text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"),
    *("multipart/form-data; boundary=" + "x" * 5000, "application/json; charset=utf-16", "application/json;charset=x"),
    *("application/jsonp", "application/json, text/html", "application", "*/*", "application/*", "a/b;" * 500),
    *("application/vnd.api+json", "application/octet-stream", "application/json\x0b", "image/svg+xml"),
]
ENCODINGS = {
    **{"gzip": gzip.compress(TEXT.encode()), "deflate": zlib.compress(TEXT.encode()), "br": b"\x8b\x02\x80"},
    **{"compress": b"\x1f\x9d", "gzip, gzip": b"", "x": TEXT.encode(), "identity;q=0": b"{}"},
    "GZIP": gzip.compress(b"\x00" * 50_000_000),
}


def types() -> Iterator[Hostile]:
    for path in ("/jobs", "/jobs/batch"):
        for content_type in TYPES:
            yield Hostile(f"{path} as {content_type:.60}", post(path, TEXT, content_type=content_type))
        for encoding, content in ENCODINGS.items():
            yield Hostile(f"{path} in {encoding}", post(path, content, headers={"Content-Encoding": encoding}))
    yield Hostile("without a type", post("/jobs", TEXT, content_type=None))


def poisoned() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, request for a job) of each job that is taken and must fail for good when it runs."""
    for url in PLACES:
        yield f"webhook to {url}", {"kind": "webhook_delivery", "payload": {"url": url, "body": {"a": 1}}}
        yield f"image from {url}", {"kind": "resize_image", "payload": {"source": url}}
    for url in PLACES[::3]:
        source = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
        yield f"image to {url}", {"kind": "resize_image", "payload": {"source": source, "target": url}}
    for source in [*(f"file:{path}" for path in FILES), *IMAGES]:
        yield f"image from {source}", {"kind": "resize_image", "payload": {"source": source.replace("<", "%3C")}}
