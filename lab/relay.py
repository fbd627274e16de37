"""A relay before a Postgres: it listens on a port of its own, and connects to Postgres for each client."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import quote

from psycopg2.extensions import parse_dsn


class Relay:
    """Accepts connections; a subclass says what passes through them. Shape: `url` is the database's DSN through it."""

    def __init__(self, url: str, *, name: str) -> None:
        self._target, self._name = parse_dsn(url), name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        way = {**self._target, "host": "127.0.0.1", "port": self._listener.getsockname()[1]}
        self.url = "postgresql://?" + "&".join(f"{word}={quote(str(value))}" for word, value in way.items())

    def start(self) -> None:
        """Begin to accept connections."""
        self._spawn(self._accept)

    def close(self) -> None:
        """Cut every connection and end."""
        self._closing.set()
        for thread in self._threads:
            thread.join(5)
        # After its thread has ended, which would otherwise select on a closed descriptor.
        self._listener.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            with suppress(OSError):
                client, _ = self._listener.accept()
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        """Handle a client that was just accepted."""
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
        """Pass on what each end sends until the connection ends, and close both."""
        raise NotImplementedError


R = TypeVar("R", bound=Relay)


@contextmanager
def running(relay: R) -> Iterator[R]:
    """Yield a relay that accepts connections, and close it at the end."""
    relay.start()
    try:
        yield relay
    finally:
        relay.close()
