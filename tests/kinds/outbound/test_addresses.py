"""Which addresses a job may reach, in every spelling; connections go to this machine only."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from typing import Any

import pytest

from haulier.kinds import Fail, Retry
from haulier.kinds.included.outbound.addresses import guard, refusal
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import exchange
from tests.kinds.kinds_tools import SOON, a_context, a_free_port, ends_soon, error_of


def get(url: str, allow: tuple[str, ...] = (), seconds: float = 5.0, **given: Any) -> int:
    """Give the status that a GET gets, under this OUTBOUND_ALLOW_PRIVATE."""
    context = a_context(outbound_allow_private=allow, **given)
    with Deadline(context, seconds, "the test") as deadline, exchange(deadline, "GET", url) as answer:
        return answer.status


PRIVATE = {
    "IPv4": "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 172.16.0.1 172.31.255.255 192.0.2.1 "
    "192.168.0.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255",
    "metadata of clouds": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 "
    "fd00:ec2::254 fd20:ce::254",
    "IPv6": ":: ::1 100::1 2001:db8::1 3fff::1 5f00::1 fc00::1 fe80::1 fec0::1 ff02::1",
    "IPv4 in IPv6": "::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1",
    "Teredo and 6to4": "2001::1 2002:7f00:1:: 2002:c0a8:1::",
}
PUBLIC = (
    "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 223.255.255.255 "
    "2606:4700:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808 2001:4860:4860::8888"
)


def test_only_public_addresses_are_reached_without_a_setting():
    private = " ".join(PRIVATE.values()).split()

    assert [each for each in private if not refusal(ipaddress.ip_address(each))] == []
    assert [each for each in PUBLIC.split() if refusal(ipaddress.ip_address(each))] == []


THIS_MACHINE = {
    "plain": "127.0.0.1 localhost LOCALHOST localhost. 127.0.0.1. 0 0.0.0.0",
    "short": "127.1 127.0.1",
    "in other bases": "2130706433 017700000001 0177.0.0.1 0x7f000001 0x7f.1 0X7F.0.0.1 127.0.0.0x1",
    "encoded, or in other letters": "%31%32%37.0.0.1 127.0.0.1%2e ０x7f.1 ①②⑦.0.0.1 127。0。0。1",
    "with a user": "user@127.0.0.1 example.com@127.0.0.1",
    "IPv6": "[::1] [::] [fe80::1%25lo] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [64:ff9b::7f00:1] "
    "[2002:7f00:1::]",
}


def test_this_machine_is_refused_in_every_spelling(receiver):
    for host in " ".join(THIS_MACHINE.values()).split():
        with pytest.raises(Fail):
            get(f"http://{host}:{receiver.port}/")

        assert receiver.connections == 0, host


def test_url_that_cannot_be_meant_is_final():
    for url in (
        *("http://", "http:///x", "http://:80/", "http://a b/", "http://a\tb/", "http://a\\b/", "http://a\r\nHost: b/"),
        *("http://a:99999/", "http://a:0/", "http://a:b/", "file:///etc/passwd", "gopher://a/", "//a/", "a", ""),
        *("http://[::1", "http://[v1.x]/", "http://" + "a" * 64 + ".com/", "http://a..b/"),
    ):
        assert error_of(get, url).startswith("Fail: "), url


def test_connection_goes_to_the_address_that_was_judged_whatever_the_name(receiver, resolves):
    for host in ("rebind.example", "receiver"):
        resolves(["127.0.0.1"], ["127.0.0.2"])

        assert get(f"http://{host}:{receiver.port}/", allow=("127.0.0.1",)) == 200
        assert receiver.requests[-1].headers["host"] == f"{host}:{receiver.port}"
    with pytest.raises(Fail, match="receiver is refused: it resolves to a loopback address"):
        get(f"http://receiver:{receiver.port}/")
    # The error does not say which address the name has.
    resolves(["10.9.8.7"])
    assert "10.9.8.7" not in error_of(get, "http://intranet.example.com/")


def test_name_or_port_that_nobody_answers_is_tried_again():
    assert "Retry: the name nowhere.invalid cannot be resolved" in error_of(get, "http://nowhere.invalid/")
    nobody = error_of(get, f"http://127.0.0.1:{a_free_port()}/", allow=("127.0.0.1",))
    assert re.match("Retry: .*refused", nobody)


def test_private_address_is_left_out_and_the_next_tried_if_one_fails(receiver, resolves):
    resolves(["127.0.0.1", "127.0.0.3"])

    with pytest.raises(Retry):
        get(f"http://mixed.example:{receiver.port}/", allow=("127.0.0.3",))

    assert receiver.connections == 0
    resolves(["127.0.0.7", "127.0.0.1"])
    assert get(f"http://two.example:{receiver.port}/", allow=("127.0.0.0/8",)) == 200


def test_certificate_is_checked_against_the_name_while_the_address_is_pinned(start_receiver, resolves, request):
    receiver = start_receiver(tls=True)
    resolves(["127.0.0.1"])

    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"https://receiver.test:{receiver.port}/", allow=("127.0.0.1",))
    request.getfixturevalue("trusted")
    assert get(f"https://receiver.test:{receiver.port}/", allow=("127.0.0.1",)) == 200
    for other in ("other.test", "127.0.0.1"):
        with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"https://{other}:{receiver.port}/", allow=("127.0.0.1",))


def test_resolver_that_hangs_is_left_behind_at_the_time_limit(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(2 * SOON))

    with ends_soon(), pytest.raises(Retry, match="longer than 0.3 s"):
        get("http://slow.example/", seconds=0.3)
    over.set()


def test_allowed_network_address_or_name_is_reached(receiver):
    by_address = ("127.0.0.0/8", "127.0.0.1", "127.0.0.1/32", "127.0.0.1:{port}", "127.0.0.0/8:{port}")
    by_name = ("localhost", "LOCALHOST.", "localhost:{port}", "127.0.0.1")

    for host, entries in (("127.0.0.1", by_address), ("localhost", by_name)):
        for entry in entries:
            allow = ("10.0.0.0/8", entry.format(port=receiver.port))
            assert get(f"http://{host}:{receiver.port}/", allow=allow) == 200, entry


def test_mapped_form_of_an_allowed_address_is_permitted():
    mapped = ipaddress.ip_address("::ffff:127.0.0.1")

    for entry in ("127.0.0.0/8", "::ffff:127.0.0.1"):
        assert guard((entry,)).permits("host", 80, mapped)
    assert not guard(("127.0.0.2",)).permits("host", 80, mapped)


def test_entry_for_another_port_name_or_network_permits_nothing(receiver):
    for entry in ("127.0.0.1:1", "localhost:1", "localhost", "10.0.0.0/8", "127.0.0.2", "127.0.0.1.example"):
        with pytest.raises(Fail, match="is refused"):
            get(receiver.url, allow=(entry,))

        assert receiver.connections == 0, entry


def test_ipv6_works_with_brackets(start_receiver):
    receiver = start_receiver(address="::1")

    assert get(receiver.url, allow=(f"[::1]:{receiver.port}",)) == 200
    assert receiver.requests[0].headers["host"] == f"[::1]:{receiver.port}"
    with pytest.raises(Fail):
        get(receiver.url, allow=("127.0.0.0/8",))
