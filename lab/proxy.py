"""A TCP proxy before a Postgres, which cuts or refuses connections, or drops bytes, at the moment that a test needs."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar
from urllib.parse import quote

from psycopg2.extensions import parse_dsn


class Proxy:
    """Passes bytes on, and cuts connections as a test asks. `url` is the database's DSN through the proxy."""

    def __init__(self, url: str) -> None:
        self._target = parse_dsn(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        way = {**self._target, "host": "127.0.0.1", "port": self._listener.getsockname()[1]}
        self.url = "postgresql://?" + "&".join(f"{word}={quote(str(value))}" for word, value in way.items())
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._stranded: set[socket.socket] = set()
        # Never set: a wait on it is a sleep.
        self._pause = threading.Event()
        self.away = False
        self.silent = False
        # How long each answer is held back. Units: seconds.
        self.delay = 0.0
        # A message that contains this is not passed on, and its connection is cut.
        self.cut_before: bytes | None = None
        # The connection is cut before the reply to a message that contains cut_reply_to, if the reply contains
        # cut_reply_with.
        self.cut_reply_to: bytes | None = None
        self.cut_reply_with = b""
        self.strand_after: bytes | None = None
        self.cuts = 0

    def start(self) -> None:
        """Begin to accept connections."""
        self._spawn(self._accept)

    def go_away(self) -> None:
        """Cut every connection and refuse new ones."""
        self.away = True
        self.cut()

    def come_back(self) -> None:
        """Accept connections again."""
        self.away = False

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            shut(pair)

    def strand(self) -> None:
        """Pass nothing on any more for the connections that are open now, and let neither end know."""
        with self._lock:
            self._stranded.update(client for client, _ in self._pairs)

    def free(self) -> None:
        """Tell the server of clients that have left, and pass bytes on again for the others."""
        with self._lock:
            self._stranded.clear()

    @property
    def stranded(self) -> int:
        """Return how many connections are stranded."""
        return len(self._stranded)

    def close(self) -> None:
        """Cut everything and end."""
        self._closing.set()
        self.go_away()
        for thread in self._threads:
            thread.join(5)
        # After its thread has ended, which would otherwise select on a closed descriptor.
        self._listener.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            with suppress(OSError):
                client, _ = self._listener.accept()
                if self.away:
                    client.close()
                else:
                    self._spawn(self._connect_and_pass_on, client)

    def _connect_and_pass_on(self, client: socket.socket) -> None:
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        self._keep(client, server)

    def _connect(self) -> socket.socket:
        host, port = self._target.get("host", "localhost"), self._target.get("port", "5432")
        if not host.startswith("/"):
            return socket.create_connection((host, int(port)))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            server.close()
            raise
        return server

    def _keep(self, client: socket.socket, server: socket.socket) -> None:
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        try:
            self._pass_on(client, server)
        # ValueError: another thread has just cut the pair, and closed descriptors are negative.
        except (OSError, ValueError):
            pass
        finally:
            shut(pair)
            with self._lock:
                self._pairs.discard(pair)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        """Return once an end has closed the connection, or when it is to be cut."""
        is_doomed = False
        while True:
            readable, _, _ = select.select((client, server), [], [], 1.0)
            for source in readable:
                if not (data := source.recv(65536)):
                    self._keep_half_open(client, server)
                    return
                if source is client:
                    if self._is_cut_before(data):
                        return
                    is_doomed = self.cut_reply_to is not None and self.cut_reply_to in data
                    self._send(server, data, client)
                    self._strand_after(data, client)
                elif is_doomed and self._is_reply_cut(data):
                    return
                else:
                    if self.delay:
                        self._pause.wait(self.delay)
                    self._send(client, data, client)

    def _is_cut_before(self, data: bytes) -> bool:
        if self.cut_before is None or self.cut_before not in data:
            return False
        self.cut_before = None
        self.cuts += 1
        return True

    def _is_reply_cut(self, data: bytes) -> bool:
        if not self.cut_reply_to or self.cut_reply_with not in data:
            return False
        # The server has answered, so it has committed; the client does not learn of it.
        self.cut_reply_to = None
        self.cuts += 1
        return True

    def _send(self, target: socket.socket, data: bytes, client: socket.socket) -> None:
        if not self.silent and client not in self._stranded:
            target.sendall(data)

    def _strand_after(self, data: bytes, client: socket.socket) -> None:
        if self.strand_after and self.strand_after in data:
            self.strand_after = None
            self._stranded.add(client)

    def _keep_half_open(self, client: socket.socket, server: socket.socket) -> None:
        # As behind a dead network: for hours the server does not learn that the client has left.
        while not self._closing.is_set() and client in self._stranded:
            readable, _, _ = select.select([server], [], [], 0.1)
            if readable and not server.recv(65536):
                return


def shut(pair: tuple[socket.socket, socket.socket]) -> None:
    """Close both ends, and wake a thread that waits for one."""
    for end in pair:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


P = TypeVar("P", bound=Proxy)


@contextmanager
def running(proxy: P) -> Iterator[P]:
    """Yield a proxy that accepts connections, and close it at the end."""
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


def proxy_to(url: str) -> AbstractContextManager[Proxy]:
    """Yield a running proxy before this database."""
    return running(Proxy(url))
