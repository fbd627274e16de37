"""Answers that are not HTTP, or stop being so: what the kinds that ask make of them."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from tests.kinds.kinds_tools import error_of, fetch, run

SECRET = b"hunter2"

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# A 2xx is there; the rest is not what it should be.
BROKEN_BODIES = {
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk of minus one": CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
    "a chunk whose size is none": CHUNKED + SECRET + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk that is larger than memory": CHUNKED + b"f" * 30 + b"\r\nhello",
    "a chunk that is longer than it says": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    "a chunk that ends too soon": CHUNKED + b"50\r\nhello",
    "a chunk with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk of letters beyond ASCII": CHUNKED + "５".encode() + b"\r\nhello\r\n0\r\n\r\n",
    "trailers that are none": CHUNKED + b"5\r\nhello\r\n0\r\n" + SECRET + b"\x00",
    "no chunk at all": CHUNKED,
    "a body that is shorter than it says": OK + b"Content-Length: 50\r\n\r\nhello",
    "a body that is longer than it says": OK + b"Content-Length: 2\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a length that is none": OK + b"Content-Length: " + SECRET + b"\r\n\r\nhello",
    "a length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    "an encoding that is none": OK + b"Content-Encoding: " + SECRET + b"\r\nContent-Length: 5\r\n\r\nhello",
    "a header without a colon": OK + SECRET + b"\r\n\r\nhello",
}
# Not even that.
NO_HTTP = {
    "SSH": b"SSH-2.0-OpenSSH_9.9 " + SECRET + b"\r\n",
    "SMTP": b"220 mail.internal ESMTP " + SECRET + b"\r\n",
    "Redis": b"-ERR wrong number of arguments for " + SECRET + b"\r\n",
    "MySQL": b"\x4a\x00\x00\x00\x0a8.4.0 " + SECRET + b"\x00\r\n",
    "a status that is none": b"HTTP/1.1 " + SECRET + b" OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 " + SECRET + b"\r\n\r\n",
    "a version that is none": b"HTTP/" + SECRET + b" 200 OK\r\n\r\n",
    "an old version": b"HTTP/0.9 " + SECRET + b"\r\n",
    "a line without an end": SECRET * 20_000,
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: " + SECRET + b"\r\n\r\nhello",
    "lengths of all sorts": OK + b"Content-Length: 5, 6, " + SECRET + b"\r\n\r\nhello",
    "nothing": b"",
    "bytes": bytes(range(256)) * 4 + SECRET + b"\r\n",
}


@pytest.fixture
def answering(listen: Callable[[Callable[[socket.socket], None]], int]) -> Callable[[bytes], str]:
    """Give a function that sets what one server answers to every request, and returns its URL."""
    answers: list[bytes] = []

    def speak(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answers[-1])

    port = listen(speak)

    def answering(answer: bytes) -> str:
        answers.append(answer)
        return f"http://127.0.0.1:{port}/"

    return answering


def deliver(url: str) -> Any:
    return run("webhook_delivery", {"url": url, "body": 1})["status"]


def test_a_webhook_that_was_answered_with_200_is_delivered_whatever_follows(answering):
    statuses = {what: deliver(answering(answer)) for what, answer in BROKEN_BODIES.items()}

    assert set(statuses.values()) == {200}, statuses


def test_a_download_of_a_broken_body_fails_and_quotes_nothing_of_it(answering):
    errors = {what: error_of(fetch, answering(answer)) for what, answer in BROKEN_BODIES.items()}

    assert [
        each for each in errors.items() if not re.match(r"(?!.*(hunter2|hello))((Retry|Fail): .*)?$", each[1])
    ] == []


def test_no_error_quotes_a_peer_that_does_not_speak_http(answering):
    offenders = []
    for ask, (what, answer) in product((deliver, fetch), NO_HTTP.items()):
        url = answering(answer)
        error = error_of(ask, url)
        said = error.replace(url.rstrip("/"), "the peer")
        quoted = [each for each in ("hunter", "SSH", "ESMTP", "ERR", "8.4.0", "mail.internal") if each in said]
        # An answer whose lengths do not agree may count.
        passed = not error and "length" in what
        plain = re.match(r"(Retry|Fail): (POST|GET) the peer (failed: [A-Za-z0-9 ]+|answered [0-9]{3}.*)$", said)
        is_final = what in ("SSH", "nothing") and not error.startswith("Retry: ")
        if quoted or is_final or not (plain or passed):
            offenders.append((what, error))

    assert offenders == []


def test_an_answer_that_is_broken_anywhere_is_an_answer_or_a_failure_and_never_quoted(answering):
    draw = random.Random(11)
    whole = [*BROKEN_BODIES.values(), *NO_HTTP.values()]
    errors = {}
    for _ in range(150):
        broken = bytearray(draw.choice(whole)[:300])
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(broken) + 1)
            broken[at : at + draw.randint(0, 3)] = draw.choice([b"", b"-", b"\x00", b"\r\n", b"\xff", b"9" * 20])
        url = answering(bytes(broken))
        errors |= {(ask, bytes(broken)): error_of(ask, url) for ask in (deliver, fetch)}

    assert [each for each in errors.items() if not re.match(r"(?!.*hunter)((Retry|Fail): .*)?$", each[1])] == []
