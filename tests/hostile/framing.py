"""Bytes that are no request, two requests, or half of one: what a parser takes another way than its neighbour."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.good import SOME_ID, TEXT
from tests.hostile.wire import HARMLESS, Hostile

BODY = TEXT.encode()
LENGTH = str(len(BODY)).encode()
HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LINES = b"POST /jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
# A job within a body: whoever takes the body's end elsewhere reads it as a request of its own.
INNER = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %b\r\n\r\n%b" % (
    LENGTH,
    BODY,
)


def chunk(content: bytes) -> bytes:
    """Return a chunk that is right."""
    return b"%x\r\n%b\r\n" % (len(content), content)


# Not one of them is a whole request for a job.
REFUSED_BYTES: dict[str, bytes] = {
    "nothing but a line": b"\r\n",
    "blank lines": b"\r\n" * 1000,
    "words": b"hello there\r\n\r\n",
    "HTTP/0.9": b"GET /jobs\r\n",
    "HTTP/0.9 with a body": b"POST /jobs\r\n" + BODY,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET /jobs HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/9.9": b"GET /jobs HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/1.10": b"GET /jobs HTTP/1.10\r\nHost: localhost\r\n\r\n",
    "http in small letters": b"GET /jobs http/1.1\r\nHost: localhost\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"EHLO localhost\r\nMAIL FROM:<a@b.c>\r\n",
    "Redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
    "Postgres": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    "binary": bytes(range(256)) * 8,
    "NULs": b"\x00" * 5000,
    "method of 5,000 letters": b"G" * 5000 + b" / HTTP/1.1\r\n\r\n",
    "method in small letters": b"get /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method with a colon": b"GE:T /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "line of 9,000 bytes": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "line without end": b"GET /" + b"a" * 200_000,
    "space before the method": b" GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tabs": b"GET\t/jobs\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "space in the path": b"GET /jobs /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NUL in the path": b"GET /jobs\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "carriage return in the path": b"GET /jobs\rX HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path without a slash": b"GET jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:{ear} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "CONNECT to a path": b"CONNECT /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TRACE with a cookie": b"TRACE /jobs HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\n\r\n",
    "GET *": b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form of another scheme": b"GET gopher://127.0.0.1:{ear}/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header without a colon": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n",
    "header without a name": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : " + LENGTH + b"\r\n\r\n" + BODY,
    "folded header": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "NUL in a header": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "NUL in a header's name": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX\x00Y: a\r\n\r\n",
    "carriage return in a header": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\rY: b\r\n\r\n",
    "header of 20,000 bytes": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "header name of 20,000 bytes": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X" * 20_000 + b": a\r\n\r\n",
    "10,000 headers": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
    "headers without end": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 50,
    "half a header": b"GET /jobs HTTP/1.1\r\nHo",
    "length negative": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "length with a plus": HEAD + b"Content-Length: +" + LENGTH + b"\r\n\r\n" + BODY,
    "length in hexadecimal": HEAD + b"Content-Length: 0x10\r\n\r\n" + BODY,
    "length in words": HEAD + b"Content-Length: many\r\n\r\n" + BODY,
    "length with a fraction": HEAD + b"Content-Length: 10.0\r\n\r\n" + BODY,
    "length empty": HEAD + b"Content-Length: \r\n\r\n" + BODY,
    "length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY,
    "length as a list": HEAD + b"Content-Length: 5, 5\r\n\r\n" + BODY,
    "length in other digits": HEAD + "Content-Length: ٣٣\r\n\r\n".encode() + BODY,
    "length with an underscore": HEAD + b"Content-Length: 1_0\r\n\r\n" + BODY,
    "two lengths": HEAD + b"Content-Length: " + LENGTH + b"\r\nContent-Length: 5\r\n\r\n" + BODY,
    "length too great": HEAD + b"Content-Length: 5000\r\n\r\n" + BODY,
    "length too great, all that came is whole": HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 1) + BODY,
    "lines cut off at the end of one": LINES + b"Content-Length: 5000\r\n\r\n" + BODY + b"\n" + BODY + b"\n",
    "length of a terabyte": HEAD + b"Content-Length: 1099511627776\r\n\r\n" + BODY,
    "length too small": HEAD + b"Content-Length: 5\r\n\r\n" + BODY,
    "length nought": HEAD + b"Content-Length: 0\r\n\r\n" + BODY,
    "no length": HEAD + b"\r\n" + BODY,
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: " + LENGTH + b"\r\n\r\n" + BODY,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunked, then identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunked with a tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunked in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + chunk(BODY) + b"0\r\n\r\n",
    "space before the colon of chunked": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "gzip and chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "underscore for hyphen": HEAD + b"Transfer_Encoding: chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\n" + BODY,
    "chunk size negative": CHUNKED + b"-5\r\n" + BODY,
    "chunk size in words": CHUNKED + b"zz\r\n" + BODY,
    "chunk size with 0x": CHUNKED + b"0x5\r\n" + BODY,
    "chunk size with a plus": CHUNKED + b"+5\r\n" + BODY,
    "chunk size with an underscore": CHUNKED + b"1_0\r\n" + BODY,
    "chunk size of 5,000 digits": CHUNKED + b"f" * 5000 + b"\r\n" + BODY,
    "chunk size of 64 bits": CHUNKED + b"ffffffffffffffff\r\n" + BODY,
    "chunk size without end": CHUNKED + b"1" * 100_000,
    "chunk longer than said": CHUNKED + b"3\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk shorter than said": CHUNKED + b"fff\r\n" + BODY,
    "chunk without its end": CHUNKED + chunk(BODY)[:-2],
    "chunk ended by line feed": CHUNKED + b"%x\n%b\n0\n\n" % (len(BODY), BODY),
    "chunk extension of 100,000 bytes": CHUNKED + b"5;a=" + b"b" * 100_000 + b"\r\n" + BODY,
    "chunks without the last": CHUNKED + chunk(BODY[:10]) + chunk(BODY[10:-1]),
    "100,000 chunks of a byte": CHUNKED + b"1\r\n \r\n" * 100_000,
    "trailer without end": CHUNKED + chunk(BODY[:-1]) + b"0\r\n" + b"X: a\r\n" * 1000,
    "no chunk": CHUNKED + b"0\r\n\r\n",
    "request within a body": HEAD + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "request within a chunk": CHUNKED + chunk(INNER) + b"0\r\n\r\n",
    "request behind a refused length": HEAD + b"Content-Length: -1\r\n\r\n" + INNER,
    "request behind a length and chunks": HEAD
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + INNER,
    "request behind bad chunks": CHUNKED + b"zz\r\n\r\n" + INNER,
    "request behind a body that is not read": b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    % len(INNER)
    + INNER,
    "request behind an unread cancel": b"POST /jobs/%b/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    % (SOME_ID.encode(), len(INNER))
    + INNER,
    "request behind an Expect": HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
}
# gunicorn's own answer, and the one that RFC 9112 (6.1) asks for.
UNKNOWN_CODINGS: dict[str, bytes] = {
    "chunked by another name": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    "chunked in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n' + chunk(BODY) + b"0\r\n\r\n",
}
HARMLESS_BYTES: dict[str, bytes] = {
    "twenty in a row": GET * 20,
    "a good one, then rubbish": GET + b"\x00\xff\r\n\r\n",
    "no Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "HTTP/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
    "line feeds alone": b"GET /health/live HTTP/1.1\nHost: localhost\n\n",
    "blank line first": b"\r\n" + GET,
    "absolute form": b"GET http://127.0.0.1:{ear}/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form, elsewhere": b"GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form, https": b"GET https://169.254.169.254/latest/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fragment": b"GET /health/live#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "raw UTF-8 in the path": "GET /jobs/ö HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "raw bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "body on a GET": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "chunks on a GET": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "upgrade to HTTP/2": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "websocket": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "connection names a header": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Host, close\r\n\r\n",
}


def framings() -> Iterator[Hostile]:
    """Yield the bytes of the tables."""
    for title, sent in REFUSED_BYTES.items():
        yield Hostile(f"framing: {title}", sent, answers=None)
    for title, sent in UNKNOWN_CODINGS.items():
        yield Hostile(f"framing: {title}", sent, allowed=(501,))
    for title, sent in HARMLESS_BYTES.items():
        yield Hostile(f"framing: {title}", sent, allowed=HARMLESS, answers=None)
