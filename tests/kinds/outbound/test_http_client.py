"""What is sent and read over HTTP: redirects, bodies, and the end of a job that waits for them."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from haulier.kinds import Fail, JobCancelled, Retry, StopReason
from haulier.kinds.outbound.deadline import Deadline
from haulier.kinds.outbound.http_client import Url, download, exchange
from tests.kinds.kinds_tools import SOON, Receiver, a_context, stopped_soon


def test_fragment_is_not_sent_and_the_query_is() -> None:
    assert Url.parse("http://example.com/a?b=c#d").request_uri == "/a?b=c"


def test_download_follows_redirects_and_judges_each(receiver: Receiver) -> None:
    def answer(handler: Any, request: Any) -> None:
        handler.send_response(302 if request.path == "/first" else 200)
        handler.send_header("Location", "/second?x=1")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    receiver.answer = answer
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline:
        assert download(deadline, f"{receiver.url}/first", 10) == b"ok"

    assert [request.path for request in receiver.requests] == ["/first", "/second?x=1"]


@pytest.mark.parametrize(
    "onward", ["http://127.0.0.9:{port}/", "http://2130706433:{port}/", "file:///etc/passwd", "//[::1]/"]
)
def test_redirect_to_a_private_address_is_refused(receiver: Receiver, onward: str) -> None:
    receiver.replies(302, Location=onward.format(port=receiver.port))
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline, pytest.raises(Fail):
        download(deadline, receiver.url, 10)

    assert receiver.connections == 1


def test_redirect_from_https_to_http_is_refused(
    receiver: Receiver, start_receiver: Callable[..., Receiver], trusted: None
) -> None:
    secure = start_receiver(tls=True)
    secure.replies(302, Location=receiver.url)
    context = a_context(outbound_allow_private=("127.0.0.0/8",))

    with Deadline(context, 5, "the test") as deadline, pytest.raises(Fail, match="from https"):
        download(deadline, f"https://localhost:{secure.port}/", 10)

    assert receiver.connections == 0


def test_redirects_end_after_four(receiver: Receiver) -> None:
    receiver.replies(302, Location="/again")
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline, pytest.raises(Fail, match="more than 4 redirects"):
        download(deadline, receiver.url, 10)

    assert len(receiver.requests) == 5


def test_password_of_the_url_does_not_follow_a_redirect(
    receiver: Receiver, start_receiver: Callable[..., Receiver]
) -> None:
    other = start_receiver()
    receiver.replies(302, Location=other.url)
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline:
        download(deadline, f"http://ann:hunter2@127.0.0.1:{receiver.port}/", 10)

    assert "authorization" in receiver.requests[0].headers
    assert "authorization" not in other.requests[0].headers


@pytest.mark.parametrize("declared", [True, False])
def test_body_beyond_the_limit_is_refused(receiver: Receiver, declared: bool) -> None:
    def answer(handler: Any, request: Any) -> None:
        handler.send_response(200)
        if declared:
            handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    receiver.answer = answer
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline, pytest.raises(Fail, match="more than 1000000 bytes"):
        download(deadline, receiver.url, 1_000_000)


def test_body_that_ends_early_is_tried_again(receiver: Receiver) -> None:
    def answer(handler: Any, request: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")

    receiver.answer = answer
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with Deadline(context, 5, "the test") as deadline, pytest.raises(Retry):
        download(deadline, receiver.url, 10_000)


def test_body_cut_at_the_time_limit_does_not_pass_for_whole(receiver: Receiver) -> None:
    context = a_context(outbound_allow_private=("127.0.0.1",))

    def answer(handler: Any, request: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.wfile.flush()
        context.wait(2)

    receiver.answer = answer

    with pytest.raises(Retry, match="longer than 0.3 s"), Deadline(context, 0.3, "the test") as deadline:
        download(deadline, receiver.url, 10_000)


def test_cancel_is_seen_while_a_body_drips_in(receiver: Receiver) -> None:
    context = a_context(outbound_allow_private=("127.0.0.1",))

    def answer(handler: Any, request: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            request_over.wait(0.02)

    request_over = a_context()
    receiver.answer = answer
    started = time.monotonic()

    with (
        stopped_soon(context, lambda: receiver.requests),
        pytest.raises(JobCancelled),
        Deadline(context, 30, "the test") as deadline,
    ):
        download(deadline, receiver.url, 10**9)

    assert time.monotonic() - started < SOON


def test_cancel_is_seen_while_a_connection_is_not_taken() -> None:
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


def test_job_that_is_already_stopped_connects_nowhere(receiver: Receiver) -> None:
    context = a_context(outbound_allow_private=("127.0.0.1",))
    context.stop(StopReason.SHUTDOWN)

    with pytest.raises(JobCancelled), Deadline(context, 5, "the test") as deadline:
        download(deadline, receiver.url, 10)

    assert receiver.connections == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a reset may discard what was received before it")
def test_answer_counts_that_comes_before_the_request_is_read(listen: Callable[..., int]) -> None:
    port = listen(lambda sock: [sock.recv(100), sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")])
    context = a_context(outbound_allow_private=("127.0.0.1",))

    with (
        Deadline(context, 5, "the test") as deadline,
        exchange(deadline, "PUT", f"http://127.0.0.1:{port}/", body=b"x" * 30_000_000) as answer,
    ):
        assert answer.status == 413
