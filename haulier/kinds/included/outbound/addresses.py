"""Decides which addresses a job may reach: the public ones, and those that OUTBOUND_ALLOW_PRIVATE adds."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from haulier.domain.errors import ConfigError
from haulier.kinds.included.outbound.deadline import POLL_SECONDS, Deadline
from haulier.kinds.sdk.endings import Fail, Retry

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
# The parts of socket.getaddrinfo's answer that are used: the family, and the address to connect to.
SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]

# Source: IANA's registries of IPv4 and IPv6 special-purpose addresses.
_SPECIAL: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a carrier's private"),
        ("127.0.0.0/8", "a loopback"),
        # Azure's host agent: it looks public and never leaves the machine.
        ("168.63.129.16/32", "a metadata"),
        ("169.254.0.0/16", "a link-local"),
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a reserved"),
        ("192.0.2.0/24", "a documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a benchmark"),
        ("198.51.100.0/24", "a documentation"),
        ("203.0.113.0/24", "a documentation"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),
        ("::/128", "an unspecified"),
        ("::1/128", "a loopback"),
        ("2001::/23", "a reserved"),
        ("2001:db8::/32", "a documentation"),
        ("2002::/16", "a 6to4"),
        ("3fff::/20", "a documentation"),
        ("fc00::/7", "a private"),
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a site-local"),
        ("ff00::/8", "a multicast"),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Ports of other protocols, whose servers could take parts of an HTTP request for their own commands.
# Source: Fetch Standard, section 2.9, "bad port": the ports that browsers refuse.
_OTHER_PROTOCOLS = frozenset(
    (1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110)
    + (111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531)
    + (532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060)
    + (5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080)
)
# IPv4-mapped and NAT64: the last 32 bits are the IPv4 address reached. Behind DNS64 every IPv4 host has a NAT64 one.
_CARRIERS = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


def refusal(address: IPAddress) -> str | None:
    """Return what kind of address this is ("a loopback") if jobs may not reach it; None if it is public."""
    address = _destination(address)
    for network, what in _SPECIAL:
        if address.version == network.version and address in network:
            return what
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return "a reserved"
    return None


def _destination(address: IPAddress) -> IPAddress:
    if address.version == 6 and any(address in carrier for carrier in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class Guard:
    """The addresses that jobs may reach, by OUTBOUND_ALLOW_PRIVATE.

    An entry is a network (10.0.0.0/8), an address, or a host's name as the URL has it, each with or without :port (an
    IPv6 address then in brackets). A name permits every address it resolves to.
    """

    networks: tuple[tuple[IPNetwork, int | None], ...]
    names: frozenset[tuple[str, int | None]]

    def permits(self, host: str, port: int, address: IPAddress) -> bool:
        """Return whether a job may connect to this address, to which this name resolved."""
        if refusal(address) is None and port not in _OTHER_PROTOCOLS:
            return True
        if not self.names.isdisjoint({(host, port), (host, None)}):
            return True
        return any(
            form.version == network.version and form in network and only_port in (None, port)
            for network, only_port in self.networks
            for form in (address, _destination(address))
        )


@lru_cache(maxsize=16)
def guard(entries: tuple[str, ...]) -> Guard:
    """Return the guard that these entries describe. Raises: ConfigError."""
    networks: list[tuple[IPNetwork, int | None]] = []
    names: set[tuple[str, int | None]] = set()
    for entry in entries:
        found = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]+))(?::(?P<port>[0-9]{1,5}))?", entry)
        host = (found["v6"] or found["host"]).lower().rstrip(".") if found else entry
        port = int(found["port"]) if found and found["port"] else None
        try:
            networks.append((ipaddress.ip_network(host), port))
        except ValueError:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host) or _ends_in_a_number(host):
                raise ConfigError(
                    f"OUTBOUND_ALLOW_PRIVATE: {entry!r} must be a network such as 10.0.0.0/8, an address or a host"
                    " name, with or without :port"
                ) from None
            names.add((host, port))
    return Guard(tuple(networks), frozenset(names))


def resolve(host: str, port: int, allowed: Guard, deadline: Deadline) -> list[SocketAddress]:
    """Return the addresses of the host that a job may connect to, at least one, as the resolver ordered them.

    Raises: Fail if none is left, Retry if the name does not resolve now, JobCancelled.
    """
    host = host.lower().rstrip(".")
    if not _is_address(host) and _ends_in_a_number(host):
        # The C library takes names such as 2130706433, 0x7f.1, 127.1 and 0177.0.0.1 for IPv4 addresses.
        raise Fail(f"{host} is refused: an IPv4 address must be written as four decimal numbers")
    found = _look_up(host, port, deadline)
    judged = [(ipaddress.ip_address(where[0].partition("%")[0]), family, where) for family, where in found]
    permitted = [(family, where) for address, family, where in judged if allowed.permits(host, port, address)]
    if not permitted:
        verb = "is" if _is_address(host) else "resolves to"
        kind = next(filter(None, (refusal(address) for address, _, _ in judged)), None)
        what = f"it {verb} {kind} address" if kind else f"port {port} belongs to another protocol"
        raise Fail(f"{host} is refused: {what}, and OUTBOUND_ALLOW_PRIVATE does not allow it")
    return permitted


def _look_up(host: str, port: int, deadline: Deadline) -> list[SocketAddress]:
    """Ask the resolver in its own thread: getaddrinfo has no time limit, and dead name servers hold it long."""
    answers: list[list[Any]] = []
    errors: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    while not done.wait(min(POLL_SECONDS, deadline.left())):
        pass
    if errors and isinstance(errors[0], ValueError):
        raise Fail(f"{host[:100]} is not a valid host name")
    if errors:
        raise Retry(f"the name {host} cannot be resolved: {getattr(errors[0], 'strerror', None) or errors[0]}")
    return [(family, where) for family, _, _, _, where in answers[0]]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ends_in_a_number(host: str) -> bool:
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) is not None
