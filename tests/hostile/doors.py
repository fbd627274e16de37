"""Requests that a proxy or a page may have brought, and headers that a library takes as they come."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.wire import HARMLESS, REFUSED, SOME_ID, TEXT, Hostile, request

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
