"""What is sent and read over HTTP: redirects, bodies, and the end of a job that waits for them."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from haulier.kinds import Fail, JobCancelled, JobContext, Retry, StopReason
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import Url, download, exchange
from tests.kinds.kinds_tools import SOON, a_context, reply, stopped_soon


def fetch(url: str, limit: int = 10, seconds: float = 5, context: JobContext | None = None, **given: Any) -> bytes:
    """Download from a server on this machine, which OUTBOUND_ALLOW_PRIVATE permits."""
    context = context or a_context(**{"outbound_allow_private": ("127.0.0.1",), **given})
    with Deadline(context, seconds, "the test") as deadline:
        return download(deadline, url, limit)


def test_fragment_is_not_sent_and_the_query_is():
    assert Url.parse("http://example.com/a?b=c#d").request_uri == "/a?b=c"


def test_download_follows_redirects_and_judges_each(receiver):
    receiver.answer = lambda handler, request: reply(
        handler, 302 if request.path == "/first" else 200, b"ok", Location="/second?x=1"
    )

    assert fetch(f"{receiver.url}/first") == b"ok"

    assert [request.path for request in receiver.requests] == ["/first", "/second?x=1"]


def test_redirect_to_a_private_address_is_refused(receiver):
    for connections, onward in enumerate(
        ("http://127.0.0.9:{port}/", "http://2130706433:{port}/", "file:///etc/passwd", "//[::1]/"), 1
    ):
        receiver.replies(302, Location=onward.format(port=receiver.port))

        with pytest.raises(Fail):
            fetch(receiver.url)

        assert receiver.connections == connections, onward


def test_redirect_from_https_to_http_is_refused(receiver, start_receiver, trusted):
    secure = start_receiver(tls=True)
    secure.replies(302, Location=receiver.url)

    with pytest.raises(Fail, match="from https"):
        fetch(f"https://localhost:{secure.port}/", outbound_allow_private=("127.0.0.0/8",))

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


def endless(drop: bytes, pause: float = 0.0, **headers: str) -> Callable[[Any, Any], None]:
    """Give an answer whose body never ends."""

    def answer(handler: Any, request: Any) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        over = a_context()
        while True:
            handler.wfile.write(drop)
            handler.wfile.flush()
            over.wait(pause)

    return answer


def test_body_beyond_the_limit_is_refused(receiver):
    for headers in ({"Content_Length": str(10**12)}, {}):
        receiver.answer = endless(b"x" * 65536, **headers)

        with pytest.raises(Fail, match="more than 1000000 bytes"):
            fetch(receiver.url, 1_000_000)


def test_body_that_ends_early_is_tried_again(listen):
    port = listen(lambda sock: [sock.recv(9999), sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")])

    with pytest.raises(Retry):
        fetch(f"http://127.0.0.1:{port}/", 10_000)


def test_body_cut_at_the_time_limit_does_not_pass_for_whole(receiver):
    receiver.answer = endless(b"half", pause=2)

    with pytest.raises(Retry, match="longer than 0.3 s"):
        fetch(receiver.url, 10_000, seconds=0.3)


def test_cancel_is_seen_while_a_body_drips_in(receiver):
    context = a_context(outbound_allow_private=("127.0.0.1",))
    receiver.answer = endless(b"x", pause=0.02)
    started = time.monotonic()

    with stopped_soon(context, lambda: receiver.requests), pytest.raises(JobCancelled):
        fetch(receiver.url, 10**9, 30, context)

    assert time.monotonic() - started < SOON


def test_cancel_is_seen_while_a_connection_is_not_taken():
    context = a_context(outbound_allow_private=("127.0.0.1",))
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        started = time.monotonic()

        with (
            stopped_soon(context, lambda: time.monotonic() - started > 0.1),
            pytest.raises(JobCancelled),
            Deadline(context, 30, "the test") as deadline,
            exchange(deadline, "GET", f"http://127.0.0.1:{full.getsockname()[1]}/"),
        ):
            pass

        assert time.monotonic() - started < SOON
        for each in waiting:
            each.close()


def test_job_that_is_already_stopped_connects_nowhere(receiver):
    context = a_context(outbound_allow_private=("127.0.0.1",))
    context.stop(StopReason.SHUTDOWN)

    with pytest.raises(JobCancelled):
        fetch(receiver.url, context=context)

    assert receiver.connections == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a reset may discard what was received before it")
def test_answer_counts_that_comes_before_the_request_is_read(listen):
    port = listen(lambda sock: [sock.recv(100), sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")])
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with (
        Deadline(context, 5, "the test") as deadline,
        exchange(deadline, "PUT", f"http://127.0.0.1:{port}/", body=b"x" * 30_000_000) as answer,
    ):
        assert answer.status == 413
