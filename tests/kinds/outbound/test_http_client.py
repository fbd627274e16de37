"""What is sent and read over HTTP: redirects, bodies, answers that are broken, and the end of a job that waits."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from haulier.kinds import Fail, Retry
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import Url, exchange
from tests.kinds.kinds_tools import a_context, cancelled_once, endless, error_of, fetch, reply, run


def test_fragment_is_not_sent_and_the_query_is():
    assert Url.parse("http://example.com/a?b=c#d").request_uri == "/a?b=c"


def test_download_follows_redirects_and_sends_no_cookie(receiver):
    receiver.answer = lambda handler, request: reply(
        handler, 302 if request.path == "/first" else 200, b"ok", Location="/second?x=1", Set_Cookie="a=b"
    )

    assert fetch(f"{receiver.url}/first") == b"ok"

    assert [request.path for request in receiver.requests] == ["/first", "/second?x=1"]
    assert "cookie" not in receiver.requests[1].headers


def test_redirect_to_a_private_address_or_to_no_url_is_final(receiver):
    private = ("http://127.0.0.9:{port}/", "http://2130706433:{port}/", "file:///etc/passwd", "//[::1]/")
    no_urls = ("http://[::1", "http://[x]/", "//[", "http://\u2100.example/", "\\\\a")
    for connections, onward in enumerate((*private, *no_urls), 1):
        receiver.replies(302, Location=onward.format(port=receiver.port).encode().decode("latin-1"))

        error = error_of(fetch, receiver.url)

        assert error.startswith("Fail: "), onward
        assert onward not in no_urls or onward not in error
        assert receiver.connections == connections, onward


def test_redirect_from_https_to_http_is_refused(receiver, start_receiver, trusted):
    secure = start_receiver(tls=True)
    secure.replies(302, Location=receiver.url)

    with pytest.raises(Fail, match="from https"):
        fetch(f"https://localhost:{secure.port}/")

    assert receiver.connections == 0


def test_redirects_end_after_four(receiver):
    receiver.replies(302, Location="/again")

    with pytest.raises(Fail, match="more than 4 redirects"):
        fetch(receiver.url)

    assert len(receiver.requests) == 5


def test_password_of_the_url_does_not_follow_a_redirect(receiver, start_receiver):
    other = start_receiver()
    receiver.replies(302, Location=other.url)

    fetch(f"http://ann:hunter2@127.0.0.1:{receiver.port}/")

    assert "authorization" in receiver.requests[0].headers
    assert "authorization" not in other.requests[0].headers


def test_body_beyond_the_limit_is_refused(receiver):
    for headers in ({"Content_Length": str(10**12)}, {}):
        receiver.answer = endless(b"x" * 65536, **headers)

        with pytest.raises(Fail, match="more than 1000000 bytes"):
            fetch(receiver.url)


def test_body_that_ends_early_is_tried_again(listen):
    port = listen(lambda sock: [sock.recv(9999), sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")])

    with pytest.raises(Retry):
        fetch(f"http://127.0.0.1:{port}/")


def test_cancel_is_seen_while_a_body_drips_in(receiver):
    context = a_context(outbound_allow_private=("127.0.0.1",))
    receiver.answer = endless(b"x", pause=0.02)

    with cancelled_once(lambda: receiver.requests, context):
        fetch(receiver.url, 10**9, 30, context)


def test_cancel_is_seen_while_a_connection_is_not_taken():
    context = a_context(outbound_allow_private=("127.0.0.1",))
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        due = time.monotonic() + 0.1

        with cancelled_once(lambda: time.monotonic() > due, context):
            fetch(f"http://127.0.0.1:{full.getsockname()[1]}/", seconds=30, context=context)

        for each in waiting:
            each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a reset may discard what was received before it")
def test_answer_counts_that_comes_before_the_request_is_read(listen):
    port = listen(lambda sock: [sock.recv(100), sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")])
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with (
        Deadline(context, 5, "the test") as deadline,
        exchange(deadline, "PUT", f"http://127.0.0.1:{port}/", body=b"x" * 30_000_000) as answer,
    ):
        assert answer.status == 413


# --- Answers that are not HTTP, or stop being so


SECRET = b"hunter2"

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# A 2xx is there; the rest is not what it should be.
BROKEN_BODIES = {
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk whose size is none": CHUNKED + SECRET + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk that is larger than memory": CHUNKED + b"f" * 30 + b"\r\nhello",
    "a chunk that is longer than it says": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    "a chunk that ends too soon": CHUNKED + b"50\r\nhello",
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
        quoted = [each for each in ("hunter", "SSH") if each in said]
        # An answer whose lengths do not agree may count.
        passed = not error and "length" in what
        plain = re.match(r"(Retry|Fail): (POST|GET) the peer (failed: [A-Za-z0-9 ]+|answered [0-9]{3}.*)$", said)
        is_final = what in ("SSH", "nothing") and not error.startswith("Retry: ")
        if quoted or is_final or not (plain or passed):
            offenders.append((what, error))

    assert offenders == []
