"""Other hosts on this machine: network namespaces, far away, that can be cut off.

    with hosts(10, round_trip=0.05) as network, Reachable(folder, network.address) as server: ...

Each host is a namespace with a TUN device of its own. A thread of this process is the wire between them: it passes each
packet on after half of the round trip, and drops the packets of a host that is cut off. Neither end learns of that, as
with a broken cable. Linux's own delay, netem, is missing in the kernels of many virtual machines. Needs root.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from haulier.local.embedded import Server
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from haulier.postgres.statements import ddl
from haulier.queue.upkeep.migrate import migrate

# RFC 2544 keeps these networks for measurements. Each run has one, so that several can run at once.
NETWORKS = "198.18.{}.{}"
MOST_NETWORKS = 256
# The last bytes of addresses: this machine's, and the first host's.
HERE, FIRST = 1, 10
# As on most networks: with larger packets a long answer would need fewer round trips than it really does.
MTU = 1500
# Of <linux/if_tun.h>.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE = "/dev/net/tun"


class NoHosts(RuntimeError):
    """This machine cannot make hosts, and why."""


class Wire(threading.Thread):
    """Passes packets between devices. Units: round_trip is in seconds, and may change."""

    def __init__(self, round_trip: float) -> None:
        super().__init__(name="wire", daemon=True)
        self.round_trip = round_trip
        # The devices, by the last byte of their address, and the hosts that are cut off.
        self.devices: dict[int, int] = {}
        self.cut: set[int] = set()
        # The first host is cut off to or from which a packet with this is on its way, which is lost.
        self.cut_at: bytes | None = None
        # How many statements each host has sent: a round trip each, since Haulier sends one message and waits.
        self.statements: Counter[int] = Counter()
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self._stop, self._stopped = os.pipe()

    def run(self) -> None:
        """Pass packets on until `close`."""
        devices = list(self.devices.values())
        while True:
            # select() and not poll(), which would round each delay up to a millisecond.
            readable, _, _ = select.select([self._stop, *devices], [], [], self._seconds_left())
            if self._stop in readable:
                return
            for device in readable:
                self._take_all(device)
            while self._on_the_way and self._on_the_way[0][0] <= time.monotonic():
                self._deliver(self._on_the_way.popleft()[1])

    def close(self) -> None:
        """End, and remove the devices, wherever they are."""
        os.write(self._stopped, b".")
        if self.is_alive():
            self.join()
        for device in (*self.devices.values(), self._stop, self._stopped):
            os.close(device)

    def _seconds_left(self) -> float | None:
        return max(0.0, self._on_the_way[0][0] - time.monotonic()) if self._on_the_way else None

    def _take_all(self, device: int) -> None:
        due = time.monotonic() + self.round_trip / 2
        with suppress(BlockingIOError):
            while packet := os.read(device, 65_535):
                # The rest is IPv6, by which hosts look for a router.
                if packet[0] >> 4 == 4:
                    self._count(packet)
                    self._on_the_way.append((due, packet))

    def _deliver(self, packet: bytes) -> None:
        source, target = packet[15], packet[19]
        if self.cut_at is not None and self.cut_at in packet:
            self.cut.add(target if source == HERE else source)
            self.cut_at = None
        # Also what was on its way when the host was cut off.
        if source not in self.cut and target not in self.cut and target in self.devices:
            # The device's queue may be full, or its host be going away: then the packet is lost.
            with suppress(OSError):
                os.write(self.devices[target], packet)

    def _count(self, packet: bytes) -> None:
        if packet[9] != socket.IPPROTO_TCP:
            return
        begin = (packet[0] & 15) * 4
        if packet[begin + (packet[begin + 12] >> 4) * 4 :][:1] == b"Q":
            self.statements[packet[15]] += 1


class Network:
    """This machine at `address`, and hosts with numbers from 0."""

    def __init__(self, number: int, wire: Wire) -> None:
        self._number, self.wire = number, wire
        self.address = NETWORKS.format(number, HERE)

    def name(self, host: int) -> str:
        """Return the name of the host's namespace."""
        return f"haulier-{self._number}-{host}"

    def on(self, host: int, *command: str) -> list[str]:
        """Return the command that runs this command on a host; it is one process, not a parent and a child."""
        return ["ip", "netns", "exec", self.name(host), *command]

    def cut(self, *hosts: int) -> None:
        """Drop every packet from and to these hosts."""
        self.wire.cut.update(FIRST + host for host in hosts)

    def cut_at(self, text: str) -> None:
        """Cut off the next host to or from which a packet with this text goes, which is lost."""
        self.wire.cut_at = text.encode()

    def is_cut(self, host: int) -> bool:
        """Return whether the host is cut off."""
        return FIRST + host in self.wire.cut

    def heal(self) -> None:
        """Pass the packets of all hosts on again."""
        self.wire.cut_at = None
        self.wire.cut.clear()

    def statements(self, host: int) -> int:
        """Return how many statements the host has sent to Postgres."""
        return self.wire.statements[FIRST + host]

    def add(self, byte: int, host: int | None = None) -> None:
        """Make a device with the address that ends with this byte, on a host or on this machine."""
        device = f"hl{self._number}-{byte}"
        self.wire.devices[byte] = _open_tun(device)
        into: tuple[str, ...] = ()
        if host is not None:
            _ip("netns", "add", self.name(host))
            _ip("link", "set", device, "netns", self.name(host))
            into = ("-n", self.name(host))
            _ip(*into, "link", "set", "lo", "up")
        _ip(*into, "address", "add", NETWORKS.format(self._number, byte) + "/24", "dev", device)
        _ip(*into, "link", "set", device, "up", "mtu", str(MTU), "txqueuelen", "10000")

    def remove(self) -> None:
        """End what runs on the hosts, and remove them; also those that a run left which was killed."""
        for folder in Path("/run/netns").glob(self.name(0)[:-1] + "*"):
            for pid in _ip("netns", "pids", folder.name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", folder.name)


def why_no_hosts() -> str | None:
    """Return what this machine lacks to make hosts, in a few words; None when it lacks nothing."""
    if os.geteuid() != 0 or not os.path.exists(CLONE) or not shutil.which("ip"):
        return f"hosts need Linux, root, {CLONE} and the command ip"
    return None


@contextmanager
def hosts(count: int, *, round_trip: float = 0.0) -> Iterator[Network]:
    """Give a network with this many hosts, this far from this machine, and remove them. Units: seconds.

    Raises: NoHosts.
    """
    if lacks := why_no_hosts():
        raise NoHosts(lacks)
    with ExitStack() as stack:
        network = Network(_take_number(stack), Wire(round_trip))
        network.remove()
        stack.callback(network.remove)
        stack.callback(network.wire.close)
        network.add(HERE)
        for host in range(count):
            network.add(FIRST + host, host)
        network.wire.start()
        yield network


def _take_number(stack: ExitStack) -> int:
    """Return the number of a network that nobody uses, and keep it until the stack is left."""
    for number in range(MOST_NETWORKS):
        # A name in the abstract namespace, which vanishes with its process however that ends.
        taken = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            taken.bind(f"\0haulier-hosts-{number}")
            stack.callback(taken.close)
            return number
        taken.close()
    raise NoHosts(f"all {MOST_NETWORKS} networks are in use")


def _open_tun(name: str) -> int:
    device = os.open(CLONE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoHosts(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Reachable(Server):
    """The embedded Postgres, which also listens on an address of the network, for the workers of many hosts."""

    def __init__(self, base: Path, address: str, *, test: bool = False) -> None:
        super().__init__(base, test=test)
        self.listens_on = address

    def make_database(self, name: str) -> tuple[str, str]:
        """Return the address of a new database with the schema in it, from here and from a host."""
        with closing(connect(self.dsn)) as conn:
            ddl(conn, "create_database", identifier=name)
        near = url_of(self.dsn, name)
        with closing(connect(near)) as conn:
            migrate(conn, retention_days=30)
        return near, f"postgresql://postgres@{self.listens_on}:5432/{quote(name)}"

    def _init(self, binaries: Path) -> None:
        is_new = not self.data.exists()
        super()._init(binaries)
        if is_new:
            for name, line in (
                # Other programs of this machine have this address here, and would become superuser.
                ("pg_hba.conf", f"host all all {self.listens_on}/32 reject"),
                ("pg_hba.conf", f"host all all {self.listens_on}/24 trust"),
                ("postgresql.conf", "max_connections = 400"),
            ):
                with (self.data / name).open("a") as file:
                    file.write(line + "\n")
