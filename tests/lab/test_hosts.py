"""Hosts on one machine. The wire between them ..."""

from __future__ import annotations

import socket
import struct

from lab.hosts import FIRST, HERE, Wire


def datagram(text: bytes = b"") -> bytes:
    """Return a packet of UDP from the first host to this machine; without text it is shorter than the heads of TCP."""
    addresses = (socket.inet_aton(f"198.18.0.{byte}") for byte in (FIRST, HERE))
    head = struct.pack("!BxHxxxxBBxx4s4s", 0x45, 28 + len(text), 64, socket.IPPROTO_UDP, *addresses)
    return head + struct.pack("!HHHxx", 1, 1, 8 + len(text)) + text


def test_passes_on_what_is_no_tcp_and_counts_only_statements():
    wire = Wire(0.0)
    ends = {}
    for byte in (HERE, FIRST):
        ends[byte], device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        device.setblocking(False)
        wire.devices[byte] = device.detach()
    ends[HERE].settimeout(5)
    wire.start()
    try:
        packets = [datagram(), datagram(b"after it")]
        for packet in packets:
            ends[FIRST].send(packet)

        assert [ends[HERE].recv(2000) for _ in packets] == packets
        assert not wire.statements
    finally:
        wire.close()
        for end in ends.values():
            end.close()
