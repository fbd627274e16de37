"""Bytes that are no request, two requests, or half of one, and one message that two parsers may take for two."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.wire import HARMLESS, REFUSED, SOME_ID, TEXT, Hostile

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
    return b"%x\r\n%b\r\n" % (len(content), content)


def get(line: bytes, headers: bytes = b"Host: localhost\r\n") -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


def unread(path: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, len(INNER)) + INNER


# Not one of them is a whole request for a job. First lines:
LINES_REFUSED = [
    *(b"GET /jobs HTTP/2.0", b"GET /jobs HTTP/9.9", b"GET /jobs HTTP/1.10", b"GET /jobs http/1.1", b"GET HTTP/1.1"),
    *(b"G" * 5000 + b" / HTTP/1.1", b"get /jobs HTTP/1.1", b"GE:T /jobs HTTP/1.1", b" GET /jobs HTTP/1.1"),
    *(b"GET\t/jobs\tHTTP/1.1", b"GET /jobs /x HTTP/1.1", b"GET /jobs\x00 HTTP/1.1", b"GET /jobs\rX HTTP/1.1"),
    *(b"GET jobs HTTP/1.1", b"GET * HTTP/1.1", b"GET /%b HTTP/1.1" % (b"a" * 9000)),
    *(b"CONNECT 127.0.0.1:{ear} HTTP/1.1", b"GET gopher://127.0.0.1:{ear}/x HTTP/1.1"),
]
HEADERS_REFUSED = [
    *(b"X\r\n", b": x\r\n", b"X: a\r\n b\r\n", b"X: a\x00b\r\n", b"X\x00Y: a\r\n", b"X: a\rY: b\r\n"),
    *(b"X: " + b"a" * 20_000 + b"\r\n", b"X" * 20_000 + b": a\r\n", b"X: a\r\n" * 10_000),
]
# Of other protocols, or cut short.
BYTES_REFUSED = [
    *(b"\r\n", b"\r\n" * 1000, b"hello there\r\n\r\n", b"GET /jobs\r\n", b"POST /jobs\r\n" + BODY),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160),
    *(b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO localhost\r\nMAIL FROM:<a@b.c>\r\n", b"*1\r\n$8\r\nFLUSHALL\r\n"),
    *(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET, bytes(range(256)) * 8),
    *(b"\x00" * 5000, b"GET /" + b"a" * 200_000, get(b"GET /jobs HTTP/1.1", b"X: a\r\n" * 50)[:-2]),
    b"GET /jobs HTTP/1.1\r\nHo",
]
LENGTHS_REFUSED = [
    *(b"-1", b"+" + LENGTH, b"0x10", b"many", b"10.0", b"", b"9" * 5000, b"5, 5", "٣٣".encode(), b"1_0"),
    *(LENGTH + b"\r\nContent-Length: 5", b"5000", b"%d" % (len(BODY) + 1), b"1099511627776", b"5", b"0"),
]
# smuggled() has more, alone and two by two.
CODINGS_REFUSED = [
    *(b": chunked, chunked", b": chunked, identity", b": \x0bchunked", b" : chunked", b": gzip, chunked"),
    *(b": chunked\r\nContent-Length: " + LENGTH, b": chunked\r\nContent-Length: 5"),
]
CHUNKS_REFUSED = [
    *(b"\r\n" + BODY, b"zz\r\n" + BODY, b"f" * 5000 + b"\r\n" + BODY, b"ffffffffffffffff\r\n" + BODY, b"1" * 100_000),
    *(b"3\r\n" + BODY + b"\r\n0\r\n\r\n", b"fff\r\n" + BODY, chunk(BODY)[:-2], b"%x\n%b\n0\n\n" % (len(BODY), BODY)),
    *(b"5;a=" + b"b" * 100_000 + b"\r\n" + BODY, chunk(BODY[:10]) + chunk(BODY[10:-1]), b"1\r\n \r\n" * 100_000),
    *(chunk(BODY[:-1]) + b"0\r\n" + b"X: a\r\n" * 1000, b"0\r\n\r\n", chunk(INNER) + b"0\r\n\r\n"),
    b"zz\r\n\r\n" + INNER,
]
REFUSED_BYTES = [
    *BYTES_REFUSED,
    *(get(line) for line in LINES_REFUSED),
    *(get(b"GET /jobs HTTP/1.1", b"Host: localhost\r\n" + headers) for headers in HEADERS_REFUSED),
    *(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + BODY for length in LENGTHS_REFUSED),
    *(HEAD + b"Transfer-Encoding" + coding + b"\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n" for coding in CODINGS_REFUSED),
    *(CHUNKED + chunks for chunks in CHUNKS_REFUSED),
    CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + chunk(BODY) + b"0\r\n\r\n",
    # Names that only some take for these.
    HEAD + b"Content-Length : " + LENGTH + b"\r\n\r\n" + BODY,
    HEAD + b"Transfer_Encoding: chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
    # No length, and lines that are cut off at the end of one.
    HEAD + b"\r\n" + BODY,
    LINES + b"Content-Length: 5000\r\n\r\n" + BODY + b"\n" + BODY + b"\n",
    # A request within a body, and behind one that is refused, or not read.
    HEAD + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
    HEAD + b"Content-Length: -1\r\n\r\n" + INNER,
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    *(unread(path) for path in (b"/nowhere", b"/jobs/%b/cancel" % SOME_ID.encode())),
    HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
]
# gunicorn's own answer, and the one that RFC 9112 (6.1) asks for.
UNKNOWN_CODINGS = [
    HEAD + b"Transfer-Encoding: %b\r\n\r\n" % coding + chunk(BODY) + b"0\r\n\r\n"
    for coding in (b"xchunked", b'"chunked"')
]
HARMLESS_HEADERS = [
    *(b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: localhost\r\nConnection: Host, close\r\n"),
    b"Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
]
HARMLESS_LINES = [
    *(b"GET /health/live HTTP/1.0", b"GET /health/live#x HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b"GET http://127.0.0.1:{ear}/health/live HTTP/1.1", b"GET http://evil.example/health/live HTTP/1.1"),
    *(b"GET https://169.254.169.254/latest/ HTTP/1.1", b"GET /\xff\xfe HTTP/1.1", b"GET /jobs/\xc3\xb6 HTTP/1.1"),
]
HARMLESS_BYTES = [
    *(GET * 20, GET + b"\x00\xff\r\n\r\n", b"\r\n" + GET, b"GET /health/live HTTP/1.1\nHost: localhost\n\n"),
    *(get(line) for line in HARMLESS_LINES),
    *(get(b"GET /health/live HTTP/1.1", headers) for headers in HARMLESS_HEADERS),
    # With a body that is not read.
    get(b"GET /health/live HTTP/1.1", b"Host: localhost\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    get(b"GET /health/live HTTP/1.1", b"Host: localhost\r\nContent-Length: %d\r\n" % len(INNER)) + INNER,
]


def framings() -> Iterator[Hostile]:
    for sent in REFUSED_BYTES:
        yield Hostile(f"framing {sent!r:.200}", sent, answers=None)
    for sent in UNKNOWN_CODINGS:
        yield Hostile(f"framing {sent!r:.200}", sent, allowed=(501,))
    for sent in HARMLESS_BYTES:
        yield Hostile(f"framing {sent!r:.200}", sent, allowed=HARMLESS, answers=None)


# --- Smuggling: what a line may be, multiplied by where it stands. Behind each message that is not well framed stands
# a whole request for a job: it must never be answered or stored, and the connection is closed after one answer.

END = b"0\r\n\r\n"
# Some read the body, some do not, and one would be answered with 200.
PLACES = {
    "a job": b"POST /jobs",
    "a batch": b"POST /jobs/batch",
    "no path": b"POST /nowhere",
    "a cancel": b"POST /jobs/%b/cancel" % SOME_ID.encode(),
    "health": b"GET /health/live",
    "another method": b"PUT /jobs",
}
UNKNOWN = (*REFUSED, 501)


def head(place: bytes, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """Return a head with these lines besides those that each request has."""
    more = b"".join(line + b"\r\n" for line in lines)
    return place + b" " + version + b"\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more + b"\r\n"


CODED = b"Transfer-Encoding: chunked"

# What a chunk's first line may not be, if {} stands for its length in hexadecimal.
BAD_SIZES = [
    *(b" {}", b"\t{}", b"\n{}", b"{} ", b"{}   ", b"{}\t", b"{}\x0b", b"{}\x0c", b"{}\r", b"{}\x00", b"{}\xa0"),
    *(b"+{}", b"-{}", b"0x{}", b"0X{}", b"{}h", b"0_{}", b"{},{}", b"{}.0", b"{} 0", b'"{}"', b"%35", b"\xb2"),
    *(b"", b";a=b", b" ;a=b", "５".encode(), "٥".encode(), b"10000000000000000"),
]
BAD_EXTENSIONS = [
    *(b";", b";;", b"; ", b";=b", b";a=", b";a b", b";a=b c", b";a=b;", b" \t ;\t ", b";a:b", b";a/b", b";[a]"),
    *(b';a="b', b';a="b"c', b';a="b"c"', b';a="b\\', b";a\rb", b';a="\r"', b";a\nb", b';a="\n0\n"'),
    *(b";a\x00", b';a="\x00"', b";a=\x7f", b";\xff=\xfe", b";\x0ba"),
]
GOOD_EXTENSIONS = [b";a", b";a=b", b';a="b; c\\" \t"', b";a=b;c", b" \t; a = b ; c", b";a=" + b"b" * 4000]
BAD_TRAILERS = [
    *(b"X\r\n", b": x\r\n", b"X : y\r\n", b" X: y\r\n", b"X: a\r\n b\r\n", b"X: a\nY: b\r\n", b"X: a\rY: b\r\n"),
    *(b"X: a\x00\r\n", b"\xc3\xa9: y\r\n", b"X: y\r\n" * 65, b"X: " + b"y" * 9000 + b"\r\n", b"5\r\nhello\r\n"),
    # What frames or names the request, or would be one.
    *(b"Content-Length: 5\r\n", CODED + b"\r\n", b"Host: evil.example\r\n", b"Authorization: Bearer x\r\n"),
    INNER[: INNER.index(b"\r\n") + 2],
]
BAD_ENDS = [b"\n", b"\r", b"\n\r", b"\r\r\n", b" \r\n", b"x\r\n", b""]


def chunks() -> Iterator[Hostile]:
    """Yield bodies whose chunks only a lenient parser reads."""
    size = b"%x" % len(BODY)
    for where, place in PLACES.items():
        start = head(place, CODED)
        sent = {}
        for line in BAD_SIZES:
            sent["size", line] = line.replace(b"{}", size) + b"\r\n" + BODY + b"\r\n" + END
            # Nothing at the end, if a line must be there, is what ends a body that has no trailers.
            sent["last size", line] = chunk(BODY) + line.replace(b"{}", b"0") + b"\r\n\r\n"
        for extension in BAD_EXTENSIONS:
            sent["extension", extension] = size + extension + b"\r\n" + BODY + b"\r\n" + END
            sent["last extension", extension] = chunk(BODY) + b"0" + extension + b"\r\n\r\n"
        for trailer in BAD_TRAILERS:
            sent["trailer", trailer] = chunk(BODY) + b"0\r\n" + trailer + b"\r\n"
        for end in BAD_ENDS:
            sent["end of a chunk", end] = size + b"\r\n" + BODY + end + END
            sent["end of a size", end] = size + end + BODY + b"\r\n" + END
        for (what, text), body in sent.items():
            yield Hostile(f"{where}: {what} {text!r:.60}", start + body + INNER)
    for extension in GOOD_EXTENSIONS:
        body = size + extension + b"\r\n" + BODY + b"\r\n0" + extension + b"\r\n\r\n"
        sent_whole = head(PLACES["health"], CODED) + body + GET
        yield Hostile(f"good extension {extension!r:.60}", sent_whole, allowed=HARMLESS, answers=2)


LENGTHS = [
    *(b"0", b"5", LENGTH, b"5000", b"+5", b"-0", b"0x5", b"5,5", b"5 5", b"", b"5\x00", b"5.", b"\xb2", b"5;", b"1e1"),
]
CODINGS = [b"chunked", b"Chunked", b"chunked, chunked", b"chunked,identity", b"identity", b"identity, chunked", b"gzip"]
CODINGS += [b"gzip, chunked", b"", b",", b"chunked,", b"x", b"chunked;q=1", b'"chunked"', b"chunked x", b"\x0bchunked"]
# A header that only some take for this one.
MANGLED = [
    *(b"{} : ", b"{}\t: ", b" {}: ", b"\r{}: ", b"X: y\n{}: ", b"X: y\r{}: ", b"{}\x00: ", b"\x00{}: ", b"{}\xa0: "),
    *(b"{}:\r\n ", b"X: y\r\n {}: ", b"{}:\x0b", b"{} "),
]


def lengths() -> Iterator[Hostile]:
    """Yield heads that say in two ways, or in none that is known, where the body ends."""
    framed = chunk(BODY) + END
    for where in ("a job", "no path", "health"):
        for length in LENGTHS:
            for coding in CODINGS:
                lines = b"Content-Length: " + length, b"Transfer-Encoding: " + coding
                for order in (lines, lines[::-1]):
                    sent = head(PLACES[where], *order) + framed + INNER
                    yield Hostile(f"{where}: {order!r:.80}", sent, allowed=UNKNOWN)
        for one in LENGTHS:
            for other in LENGTHS[:4]:
                sent = head(PLACES[where], b"Content-Length: " + one, b"content-length: " + other) + BODY + INNER
                yield Hostile(f"{where}: lengths {one!r} and {other!r}", sent)
        # Behind what the parser knows, chunked is the end of a list that says how.
        for one in set(CODINGS) - {b"identity", b"gzip"}:
            sent = head(PLACES[where], b"Transfer-Encoding: " + one, CODED) + framed + INNER
            yield Hostile(f"{where}: coded {one!r} and chunked", sent, allowed=UNKNOWN, answers=None)
        for how in MANGLED:
            for name, value in ((b"Content-Length", LENGTH), (b"Transfer-Encoding", b"chunked")):
                line = how.replace(b"{}", name) + value
                yield Hostile(f"{where}: {line!r}", head(PLACES[where], line) + framed + INNER)
    for version in (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/1", b"http/1.1", b""):
        for where, place in PLACES.items():
            yield Hostile(f"{where}: chunks in {version!r}", head(place, CODED, version=version) + framed + INNER)


# Every byte that is no letter may divide the words of a first line by some parser.
DIVIDERS = [b"\t", b"\x0b", b"\x0c", b"\r", b"\n", b"\x00", b"\xa0", b"  "]
TARGETS = [b"/jobs\r", b"/jobs\n", b"/jobs\x00", b"/jobs\x7f", b"/jobs\xff", b"jobs", b"", b"*", b"//", b"localhost:80"]
TARGETS += [b"http://[::1", b"http:///jobs", b"http://a b/jobs"]


def lines() -> Iterator[Hostile]:
    """Yield first lines and line ends that parsers divide in different places."""
    rest = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: " + LENGTH + b"\r\n\r\n" + BODY
    for divider in DIVIDERS:
        for line in (
            b"POST%b/jobs HTTP/1.1",
            b"POST /jobs%bHTTP/1.1",
            b"%bPOST /jobs HTTP/1.1",
            b"POST /jobs HTTP/1.1%b",
        ):
            first = line.replace(b"%b", divider)
            yield Hostile(f"first line {first!r}", first + b"\r\n" + rest + INNER)
    for target in TARGETS:
        # Nothing good in the request itself: some targets are well formed.
        sent = b"POST " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        yield Hostile(f"target {target!r}", sent + GET, allowed=HARMLESS, answers=2)
    whole = HEAD + b"Content-Length: " + LENGTH + b"\r\n\r\n"
    for at in range(whole.count(b"\r\n")):
        for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b"\x0b\r\n"):
            parts = whole.split(b"\r\n")
            broken = b"\r\n".join(parts[: at + 1]) + end + b"\r\n".join(parts[at + 1 :])
            yield Hostile(f"line {at} ended by {end!r}", broken + BODY + INNER, answers=None)


def smuggled() -> Iterator[Hostile]:
    yield from chunks()
    yield from lengths()
    yield from lines()
