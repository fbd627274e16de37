"""A server that a test makes up: it notes every request that arrives whole, and answers or dies as the test says."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Stub:
    """The server. `answer` returns the bytes to send for the n-th request, counted from 1; None cuts the connection."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self.connections: list[socket.socket] = []

    def serve(self) -> None:
        """Serve until `close`."""
        with suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                self.connections.append(conn)
                threading.Thread(target=self._serve_one, args=(conn,)).start()

    def _serve_one(self, conn: socket.socket) -> None:
        with suppress(OSError), closing(conn):
            rest = b""
            while True:
                request, rest = _receive(conn, rest)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    number = len(self.requests)
                answer = self._answer(number)
                if answer is None:
                    return
                conn.sendall(answer)

    def close(self) -> None:
        """Stop listening, and end every connection."""
        for each in (self._listener, *self.connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _receive(conn: socket.socket, data: bytes) -> tuple[str | None, bytes]:
    while b"\r\n\r\n" not in data:
        if not (more := conn.recv(65536)):
            return None, b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    length = int(found[1]) if found else 0
    while len(body) < length:
        if not (more := conn.recv(65536)):
            return None, b""
        body += more
    return f"{head.decode('latin-1')}\r\n\r\n", body[length:]


@contextmanager
def stub(answer: Callable[[int], bytes | None] = lambda _: OK) -> Iterator[Stub]:
    """Run a server like this one; stop it on leaving."""
    running = Stub(answer)
    thread = threading.Thread(target=running.serve)
    thread.start()
    try:
        yield running
    finally:
        running.close()
        thread.join(20)
