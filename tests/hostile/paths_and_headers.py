"""Paths, queries and headers that the service must refuse, or answer without harm; what proxies bring, and tokens."""

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


# What proxies, routers, content networks, clouds, meshes and tunnels add, by their documentation.
ADDED = (
    "Forwarded Via X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port "
    "X-Forwarded-Server X-Forwarded-Prefix X-Forwarded-Scheme X-Forwarded-Ssl X-Forwarded-Protocol X-Forwarded-By "
    "X-Forwarded-Client-Cert X-Forwarded-User X-Forwarded-Email X-Forwarded-Path X-Forwarded-Uri X-Forwarded-Method "
    "X-Forwarded-Tls-Client-Cert X-Forward-For X-Original-Forwarded-For X-Original-Host X-Original-URL "
    "X-Original-Uri X-Original-Method X-Original-Proto X-Original-For X-Rewrite-URL X-Real-IP X-Real-Port "
    "X-Client-IP X-Cluster-Client-IP X-Remote-IP X-Remote-Addr X-Remote-User X-ProxyUser-IP X-Proxy-Real-IP X-Via "
    "X-Host X-Scheme X-Url-Scheme X-Request-Start X-SSL-Client-Cert SSL-Client-Cert Front-End-Https Client-IP "
    "Client-Cert True-Client-IP WL-Proxy-Client-IP Proxy-Client-IP Proxy-Connection Proxy-Authorization "
    "Surrogate-Capability Early-Data X-BlueCoat-Via CF-Connecting-IP CF-Connecting-IPv6 CF-Ray CF-Visitor "
    "CF-IPCountry CF-Worker CF-Warp-Tag-Id CDN-Loop CDN-RequestId Cloudfront-Viewer-Address "
    "CloudFront-Forwarded-Proto CloudFront-Viewer-Country X-Amz-Cf-Id Fastly-Client-IP Fastly-FF Fastly-SSL "
    "Akamai-Origin-Hop X-Akamai-Edgescape Incap-Client-IP Ali-CDN-Real-IP X-Sucuri-ClientIP X-Varnish "
    "X-Edge-Connect-MidMile-RTT X-CDN Fly-Client-IP Fly-Forwarded-Proto Fly-Region Fly-Request-Id Rndr-Id "
    "X-Render-Origin-Server X-Railway-Edge X-Railway-Request-Id X-Heroku-Dynos-In-Use Disguised-Host "
    "WAS-Default-Hostname X-Amzn-Trace-Id X-Amzn-TLS-Version X-AppEngine-Country X-AppEngine-User-IP X-ARR-SSL "
    "X-ARR-LOG-ID X-Azure-ClientIP X-Azure-SocketIP X-Azure-Ref X-Azure-FDID X-Cloud-Trace-Context X-FD-HealthProbe "
    "X-Goog-IAP-JWT-Assertion X-MS-Client-Principal X-NF-Client-Connection-IP X-Site-Deployment-Id X-Vercel-Id "
    "X-Vercel-Forwarded-For X-Vercel-IP-Country L5d-Dst-Override Ngrok-Skip-Browser-Warning X-Ngrok-Id "
    "Tailscale-User-Login X-Consumer-Username X-Envoy-External-Address X-Envoy-Internal "
    "X-Envoy-Expected-Rq-Timeout-Ms X-Envoy-Original-Path X-Istio-Attributes X-Kong-Request-Id X-Traefik-Fast-Proxy "
)
VALUES = {"X-Forwarded-Proto": "http", "X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http"}


def forwarded() -> Iterator[Hostile]:
    """Yield good requests that a proxy has brought: without keys none is answered, with keys none that shows none."""
    paths = ("/jobs", "/kinds", "/metrics", f"/jobs/{SOME_ID}")
    for number, name in enumerate(ADDED.split()):
        value, written = VALUES.get(name, "127.0.0.1"), (name, name.lower(), name.upper())[number % 3]
        path = paths[number % 4]
        yield Hostile(f"brought, POST, {written}", request("POST", "/jobs", TEXT, headers={written: value}), (401,))
        yield Hostile(f"brought, GET {path}, {name}", request("GET", path, headers={name: value}), (401,))
    for host in ("localhost", "127.0.0.1", "127.0.0.1:8080", "evil.example", None):
        lines = f"Host: {host}\r\n" if host else ""
        for path in ("/jobs", "/kinds", "/metrics"):
            sent = f"GET {path} HTTP/1.0\r\n{lines}Connection: close\r\n\r\n".encode()
            yield Hostile(f"HTTP/1.0, GET {path}, {host}", sent, (401,))
        for keep in ("close", "keep-alive"):
            sent = f"POST /jobs HTTP/1.0\r\n{lines}Connection: {keep}\r\nContent-Type: application/json\r\n".encode()
            body = b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT.encode())
            yield Hostile(f"HTTP/1.0, POST, {host}, {keep}", sent + body, (401,))


TYPES = ["text/plain", "application/openmetrics-text", "TEXT/PLAIN", "*/*", "text/plain, application/openmetrics-text"]
VERSIONS = [
    *("x", "", "1", "1.x", "1.0.x", "x.0.0", "0.0.4", "1.0.0", "2.0.0", "1.0.0.0", "-1", "+1", "1e3", "1_0", "."),
    *("..", "9" * 5000, "\xb2", "\xe9", "1.0.0\xe9", '"1.0.0"', "'", "1.0.0 x", "2.x", "2.\x09x", "NaN", "None"),
    *("1,0", "%31", "{{7*7}}"),
]
ESCAPINGS = ["", "x", "allow-utf-8", "values", "dots", "underscores", "\xe9", "allow-utf-8;version=x"]


def scrapes() -> Iterator[Hostile]:
    """Yield requests for the metrics in forms that there are not."""
    forms = [f"{kind};version={version}" for kind in TYPES for version in VERSIONS]
    forms += [f"x, {kind}; version={version}; q=0.5" for kind in TYPES for version in VERSIONS[::3]]
    forms += [f"{kind};version=1.0.0;escaping={escaping}" for kind in TYPES for escaping in ESCAPINGS]
    for form in forms:
        yield Hostile(f"metrics as {form!r:.70}", request("GET", "/metrics", headers={"Accept": form}), HARMLESS)


# Names that become one and the same in WSGI, or say what only the server may say.
UNDERSCORED = [
    *("SCRIPT_NAME", "script_name", "PATH_INFO", "REMOTE_USER", "REMOTE_ADDR", "CONTENT_LENGTH", "CONTENT_TYPE"),
    *("X_FORWARDED_FOR", "X_Forwarded_Proto", "TRANSFER_ENCODING", "HTTP_HOST", "SERVER_NAME", "wsgi_input"),
    *("wsgi.url_scheme", "QUERY_STRING", "REQUEST_METHOD", "SCRIPT-NAME", "PATH-INFO", "AUTHORIZATION_"),
]


def mapped() -> Iterator[Hostile]:
    """Yield headers that reach the application under another name, or would."""
    for name in UNDERSCORED:
        for value in ("/x", "/jobs", "", "http://evil.example", "5", "chunked"):
            for path in ("/jobs", "/health", "/nowhere"):
                yield Hostile(f"{path}, {name}: {value}", request("GET", path, headers={name: value}), HARMLESS)


def heads() -> Iterator[Hostile]:
    """Yield heads about as long as they may be, and longer, in few lines or many."""
    for size in (65_000, 66_000, 72_000, 130_000, 600_000):
        for lines in (8, 20, 63, 64, 65, 2000):
            line = size // lines
            for end in (b"\r\n", b""):
                sent = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
                sent += b"".join(b"X-%d: " % n + b"x" * (line - 8) + b"\r\n" for n in range(lines)) + end
                allowed = (431,) if size > 65_536 or lines > 63 else HARMLESS
                yield Hostile(f"a head of {size} in {lines}{'' if end else ', open'}", sent, allowed)


TOKEN = "hlr_abcdefghijkl_" + "x" * 43


def tokens() -> Iterator[Hostile]:
    """Yield API keys that are none, in the form of one, and in others."""
    for number in range(60):
        shown = {"Authorization": f"Bearer hlr_{number:012d}_{'x' * 43}"}
        yield Hostile(f"token {number}", request("GET", "/jobs", headers={**shown, "X-Real-IP": "x"}), (401, 429))
    for name in ("Authorization", "authorization", "Proxy-Authorization", "X-Api-Key"):
        for text in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"Bearer\t{TOKEN}", TOKEN, f"Bearer {TOKEN}, x"):
            sent = request("GET", "/jobs", headers={name: text, "Via": "1.1 x"})
            yield Hostile(f"{name}: {text!r}", sent, REFUSED)


def at_doors() -> Iterator[Hostile]:
    for each in (forwarded, scrapes, mapped, heads, tokens):
        yield from each()
