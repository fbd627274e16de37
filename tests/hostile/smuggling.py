"""One message that two parsers may take for two: tables of what a line may be, multiplied by where it stands.

Behind each message that is not well framed stands a whole request for a job. It must never be answered, let alone
stored; and the broken one gets one answer, after which the connection is closed. Behind those that are well framed
stands a harmless one, which is answered as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.framing import BODY, GET, HEAD, INNER, LENGTH, chunk
from tests.hostile.wire import HARMLESS, REFUSED, SOME_ID, Hostile

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
