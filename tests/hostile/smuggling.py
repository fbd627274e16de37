"""One message that two parsers may take for two: tables of what a line may be, multiplied by where it stands.

Behind each message that is not well framed stands a whole request for a job. It must never be answered, let alone
stored; and the broken one gets one answer, after which the connection is closed. Behind those that are well framed
stands a harmless one, which is answered as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.framing import BODY, GET, HEAD, INNER, LENGTH, chunk
from tests.hostile.good import SOME_ID
from tests.hostile.wire import HARMLESS, REFUSED, Hostile

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

# What a chunk's first line may not be; %x is its length.
BAD_SIZES: dict[str, bytes] = {
    "space before": b" %x",
    "tab before": b"\t%x",
    "space behind": b"%x ",
    "spaces behind": b"%x   ",
    "tab behind": b"%x\t",
    "vertical tab behind": b"%x\x0b",
    "form feed behind": b"%x\x0c",
    "carriage return behind": b"%x\r",
    "NUL behind": b"%x\x00",
    "no-break space behind": b"%x\xa0",
    "line feed before": b"\n%x",
    "plus": b"+%x",
    "minus": b"-%x",
    "0x": b"0x%x",
    "0X": b"0X%x",
    "h": b"%xh",
    "underscore": b"0_%x",
    "comma": b"%x,%x",
    "point": b"%x.0",
    "two words": b"%x 0",
    "quoted": b'"%x"',
    "nothing": b"",
    "an extension alone": b";a=b",
    "a space and an extension": b" ;a=b",
    "full width": "５".encode(),
    "arabic": "٥".encode(),
    "superscript": b"\xb2",
    "17 digits": b"10000000000000000",
    "percent": b"%%35",
}
BAD_EXTENSIONS: dict[str, bytes] = {
    "no name": b";",
    "no name, twice": b";;",
    "a space for a name": b"; ",
    "no name and a value": b";=b",
    "no value": b";a=",
    "two words": b";a b",
    "a value of two words": b";a=b c",
    "an open quote": b';a="b',
    "a quote that goes on": b';a="b"c',
    "a quote within": b';a="b"c"',
    "an escape at the end": b';a="b\\',
    "a carriage return": b";a\rb",
    "a carriage return in a quote": b';a="\r"',
    "a line feed": b";a\nb",
    "a line feed in a quote": b';a="\n0\n"',
    "a NUL": b";a\x00",
    "a NUL in a quote": b';a="\x00"',
    "a delete": b";a=\x7f",
    "a colon": b";a:b",
    "a slash": b";a/b",
    "brackets": b";[a]",
    "high bytes": b";\xff=\xfe",
    "a vertical tab": b";\x0ba",
    "a second one that is none": b";a=b;",
    "spaces and nothing": b" \t ;\t ",
}
GOOD_EXTENSIONS: dict[str, bytes] = {
    "a name": b";a",
    "a value": b";a=b",
    "a quote": b';a="b; c\\" \t"',
    "two": b";a=b;c",
    "white space where it may be": b" \t; a = b ; c",
    "long": b";a=" + b"b" * 4000,
}
BAD_TRAILERS: dict[str, bytes] = {
    "no colon": b"X\r\n",
    "no name": b": x\r\n",
    "a space before the colon": b"X : y\r\n",
    "a space before the name": b" X: y\r\n",
    "folded": b"X: a\r\n b\r\n",
    "a bare line feed": b"X: a\nY: b\r\n",
    "a bare carriage return": b"X: a\rY: b\r\n",
    "a NUL": b"X: a\x00\r\n",
    "a length": b"Content-Length: 5\r\n",
    "a coding": b"Transfer-Encoding: chunked\r\n",
    "a host": b"Host: evil.example\r\n",
    "a key": b"Authorization: Bearer x\r\n",
    "a request": INNER[: INNER.index(b"\r\n") + 2],
    "65 of them": b"X: y\r\n" * 65,
    "a long one": b"X: " + b"y" * 9000 + b"\r\n",
    "a name of other letters": b"\xc3\xa9: y\r\n",
    "a chunk": b"5\r\nhello\r\n",
}
BAD_ENDS: dict[str, bytes] = {
    "line feed": b"\n",
    "carriage return": b"\r",
    "both, turned round": b"\n\r",
    "two carriage returns": b"\r\r\n",
    "a space": b" \r\n",
    "a byte too many": b"x\r\n",
    "nothing": b"",
}


def chunks() -> Iterator[Hostile]:
    """Yield bodies whose chunks only a lenient parser reads."""
    for where, place in PLACES.items():
        start = head(place, CODED)
        for title, line in BAD_SIZES.items():
            first = line.replace(b"%x", b"%x" % len(BODY)).replace(b"%%", b"%")
            last = line.replace(b"%x", b"0").replace(b"%%", b"%")
            yield Hostile(f"{where}: size, {title}", start + first + b"\r\n" + BODY + b"\r\n" + END + INNER)
            # Nothing at the end, if a line must be there, is what ends a body that has no trailers.
            yield Hostile(f"{where}: last size, {title}", start + chunk(BODY) + last + b"\r\n\r\n" + INNER)
        for title, extension in BAD_EXTENSIONS.items():
            line = b"%x%b\r\n" % (len(BODY), extension)
            yield Hostile(f"{where}: extension, {title}", start + line + BODY + b"\r\n" + END + INNER)
            yield Hostile(f"{where}: last extension, {title}", start + chunk(BODY) + b"0%b\r\n\r\n" % extension + INNER)
        for title, trailer in BAD_TRAILERS.items():
            yield Hostile(f"{where}: trailer, {title}", start + chunk(BODY) + b"0\r\n" + trailer + b"\r\n" + INNER)
        for title, end in BAD_ENDS.items():
            yield Hostile(f"{where}: chunk ended by {title}", start + b"%x\r\n" % len(BODY) + BODY + end + END + INNER)
            yield Hostile(
                f"{where}: size ended by {title}", start + b"%x" % len(BODY) + end + BODY + b"\r\n" + END + INNER
            )
    for title, extension in GOOD_EXTENSIONS.items():
        line = b"%x%b\r\n" % (len(BODY), extension)
        sent = head(PLACES["health"], CODED) + line + BODY + b"\r\n0%b\r\n\r\n" % extension
        yield Hostile(f"good extension: {title}", sent + GET, allowed=HARMLESS, answers=2)


LENGTHS = [
    b"0",
    b"5",
    LENGTH,
    b"5000",
    b"+5",
    b"-0",
    b"0x5",
    b"5,5",
    b"5 5",
    b"",
    b"5\x00",
    b"5.",
    b"\xb2",
    b"5;",
    b"1e1",
]
CODINGS = [b"chunked", b"Chunked", b"chunked, chunked", b"chunked,identity", b"identity", b"identity, chunked", b"gzip"]
CODINGS += [b"gzip, chunked", b"", b",", b"chunked,", b"x", b"chunked;q=1", b'"chunked"', b"chunked x", b"\x0bchunked"]
# A header that only some take for this one.
MANGLED = {
    "a space behind": b"%b : ",
    "a tab behind": b"%b\t: ",
    "a space before": b" %b: ",
    "a carriage return before": b"\r%b: ",
    "a line feed before": b"X: y\n%b: ",
    "a carriage return and the name": b"X: y\r%b: ",
    "a NUL behind": b"%b\x00: ",
    "a NUL before": b"\x00%b: ",
    "a high byte behind": b"%b\xa0: ",
    "folded": b"%b:\r\n ",
    "folded into another": b"X: y\r\n %b: ",
    "a vertical tab for a space": b"%b:\x0b",
    "no colon": b"%b ",
}


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
        for title, how in MANGLED.items():
            for line in (
                how.replace(b"%b", b"Content-Length") + LENGTH,
                how.replace(b"%b", b"Transfer-Encoding") + b"chunked",
            ):
                yield Hostile(f"{where}: {line[-40:]!r}, {title}", head(PLACES[where], line) + framed + INNER)
    for version in (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/1", b"http/1.1", b""):
        for where, place in PLACES.items():
            yield Hostile(f"{where}: chunks in {version!r}", head(place, CODED, version=version) + framed + INNER)


# Every byte that is no letter may divide the words of a first line for somebody.
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
    """Yield them all."""
    yield from chunks()
    yield from lengths()
    yield from lines()
