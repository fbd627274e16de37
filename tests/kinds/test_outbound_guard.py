"""Which addresses a job may reach, in every spelling; connections go to this machine only."""

from __future__ import annotations

import ipaddress
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, JobCancelled, Retry, StopReason, load_kinds
from haulier.kinds.outbound.addresses import guard, refusal
from haulier.kinds.outbound.deadline import Deadline
from haulier.kinds.outbound.http_client import Url, download, exchange
from tests.kinds.kinds_tools import Receiver, a_context, a_free_port, settings, stopped_soon


def get(url: str, allow: tuple[str, ...] = (), seconds: float = 5.0, **given: Any) -> int:
    """Give the status that a GET gets, under this OUTBOUND_ALLOW_PRIVATE."""
    context = a_context(outbound_allow_private=allow, **given)
    with Deadline(context, seconds, "the test") as deadline, exchange(deadline, "GET", url) as answer:
        return answer.status


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",  # Alibaba's metadata
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # Azure's agent
        "169.254.169.254",  # the metadata of most clouds
        "169.254.170.2",  # of Amazon's containers
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",  # Oracle's metadata
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4-compatible
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",  # translated
        "64:ff9b::7f00:1",  # NAT64
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",  # Teredo
        "2001:db8::1",
        "2002:7f00:1::",  # 6to4
        "2002:c0a8:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # Amazon's metadata
        "fd20:ce::254",  # Google's
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255"]
    + ["2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:4860:4860::8888"],
)
def test_public_address_is_not_refused(address: str) -> None:
    assert refusal(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "127.0.0.0x1",
        "%31%32%37.0.0.1",
        "127.0.0.1%2e",
        "０x7f.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::]",
        "0",
        "0.0.0.0",
        "[fe80::1%25lo]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_this_machine_is_refused_in_every_spelling(receiver: Receiver, host: str) -> None:
    with pytest.raises(Fail):
        get(f"http://{host}:{receiver.port}/")

    assert receiver.connections == 0


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://:80/", "http://a b/", "http://a\tb/", "http://a\\b/", "http://a\r\nHost: b/"]
    + [
        "http://a:99999/",
        "http://a:0/",
        "http://a:b/",
        "file:///etc/passwd",
        "gopher://a/",
        "//a/",
        "a",
        "",
        "http://[::1",
    ]
    + ["http://[v1.x]/", "http://" + "a" * 64 + ".com/", "http://a..b/"],
)
def test_url_that_cannot_be_meant_is_final(url: str) -> None:
    with pytest.raises(Fail):
        get(url)


def test_fragment_is_not_sent_and_the_query_is() -> None:
    assert Url.parse("http://example.com/a?b=c#d").request_uri == "/a?b=c"


def test_name_without_a_dot_is_judged_like_any_other(receiver: Receiver, resolves: Callable[..., list[str]]) -> None:
    resolves(["127.0.0.1"])

    assert get(f"http://receiver:{receiver.port}/", allow=("receiver",)) == 200
    with pytest.raises(Fail, match="receiver is refused: it resolves to a loopback address"):
        get(f"http://receiver:{receiver.port}/")


def test_error_does_not_tell_what_address_a_name_has(resolves: Callable[..., list[str]]) -> None:
    resolves(["10.9.8.7"])

    with pytest.raises(Fail) as caught:
        get("http://intranet.example.com/")

    assert "10.9.8.7" not in str(caught.value)


def test_name_is_resolved_once_so_a_second_answer_gains_nothing(
    receiver: Receiver, start_receiver: Callable[..., Receiver], resolves: Callable[..., list[str]]
) -> None:
    asked = resolves(["127.0.0.2"], ["127.0.0.1"])

    with pytest.raises(Retry):
        get(f"http://rebind.example:{receiver.port}/", allow=("127.0.0.2",))

    assert asked == ["rebind.example"]
    assert receiver.connections == 0


def test_connection_goes_to_the_address_that_was_judged(receiver: Receiver, resolves: Callable[..., list[str]]) -> None:
    resolves(["127.0.0.1"], ["127.0.0.2"])

    assert get(f"http://rebind.example:{receiver.port}/", allow=("127.0.0.1",)) == 200
    assert receiver.requests[0].headers["host"] == f"rebind.example:{receiver.port}"


def test_private_address_among_public_ones_is_left_out(receiver: Receiver, resolves: Callable[..., list[str]]) -> None:
    resolves(["127.0.0.1", "127.0.0.3"])

    with pytest.raises(Retry):
        get(f"http://mixed.example:{receiver.port}/", allow=("127.0.0.3",))

    assert receiver.connections == 0


def test_next_address_is_tried_where_one_does_not_take_the_connection(
    receiver: Receiver, resolves: Callable[..., list[str]]
) -> None:
    resolves(["127.0.0.7", "127.0.0.1"])

    assert get(f"http://two.example:{receiver.port}/", allow=("127.0.0.0/8",)) == 200


def test_certificate_is_checked_against_the_name_while_the_address_is_pinned(
    start_receiver: Callable[..., Receiver], resolves: Callable[..., list[str]], trusted: None
) -> None:
    receiver = start_receiver(tls=True)
    resolves(["127.0.0.1"])

    assert get(f"https://receiver.test:{receiver.port}/", allow=("127.0.0.1",)) == 200
    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"https://other.test:{receiver.port}/", allow=("127.0.0.1",))


def test_name_that_does_not_resolve_is_tried_again() -> None:
    with pytest.raises(Retry, match=r"name nowhere\.invalid cannot be resolved"):
        get("http://nowhere.invalid/")


def test_resolver_that_hangs_is_left_behind_at_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    context = a_context()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: context.wait(3))
    started = time.monotonic()

    with pytest.raises(Retry, match="longer than 0.3 s"):
        get("http://slow.example/", seconds=0.3)

    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "entries",
    [("127.0.0.0/8",), ("127.0.0.1",), ("10.0.0.0/8", "127.0.0.1/32"), ("127.0.0.1:{port}",), ("127.0.0.0/8:{port}",)],
)
def test_allowed_network_or_address_is_reached(receiver: Receiver, entries: tuple[str, ...]) -> None:
    allow = tuple(entry.format(port=receiver.port) for entry in entries)

    assert get(receiver.url, allow=allow) == 200


@pytest.mark.parametrize("entry", ["localhost", "LOCALHOST.", "localhost:{port}", "127.0.0.1"])
def test_allowed_name_is_reached(receiver: Receiver, entry: str) -> None:
    assert get(f"http://localhost:{receiver.port}/", allow=(entry.format(port=receiver.port),)) == 200


@pytest.mark.parametrize("entry", ["127.0.0.0/8", "::ffff:127.0.0.1"])
def test_mapped_form_of_an_allowed_address_is_permitted(entry: str) -> None:
    mapped = ipaddress.ip_address("::ffff:127.0.0.1")

    assert guard((entry,)).permits("host", 80, mapped)
    assert not guard(("127.0.0.2",)).permits("host", 80, mapped)


@pytest.mark.parametrize(
    "entry", ["127.0.0.1:1", "localhost:1", "localhost", "10.0.0.0/8", "127.0.0.2", "127.0.0.1.example"]
)
def test_entry_for_another_port_name_or_network_permits_nothing(receiver: Receiver, entry: str) -> None:
    with pytest.raises(Fail, match="is refused"):
        get(receiver.url, allow=(entry,))

    assert receiver.connections == 0


def test_ipv6_works_with_brackets(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver("::1")

    assert get(receiver.url, allow=(f"[::1]:{receiver.port}",)) == 200
    assert receiver.requests[0].headers["host"] == f"[::1]:{receiver.port}"
    with pytest.raises(Fail):
        get(receiver.url, allow=("127.0.0.0/8",))


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "10.0.0.1/8", "127.1", "2130706433", "*", "a b", "http://a", "a:b", "[::1", "-/8"]
)
def test_entry_that_means_nothing_stops_the_process(entry: str) -> None:
    with pytest.raises(ConfigError, match="OUTBOUND_ALLOW_PRIVATE"):
        load_kinds(settings(outbound_allow_private=(entry,)))


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

    assert time.monotonic() - started < 0.5


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

        assert time.monotonic() - started < 0.6
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


def test_port_nobody_listens_on_is_tried_again() -> None:
    with pytest.raises(Retry, match="refused"):
        get(f"http://127.0.0.1:{a_free_port()}/", allow=("127.0.0.1",))
