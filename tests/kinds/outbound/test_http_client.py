"""What is sent and read over HTTP: redirects, bodies, and the end of a job that waits for them."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from haulier.kinds import Fail, JobCancelled, Retry, StopReason
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import Url, exchange
from tests.kinds.kinds_tools import a_context, cancelled_once, endless, error_of, fetch, reply


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
