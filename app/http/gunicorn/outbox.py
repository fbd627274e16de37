"""Holds the bytes that are still to be sent to a client. gunicorn writes into it as into a socket, without waiting.

Head and body come in two writes, and are sent together: a second packet costs both sides a wake-up.
"""

from __future__ import annotations

import socket
from collections import deque
from itertools import islice
from typing import Any, BinaryIO

# The kernel takes 1,024 at once.
MOST_AT_ONCE = 64

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Outbox:
    """A socket that keeps what is written, and sends as much as it can at once when it is flushed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest: deque[memoryview] = deque()
        self.has_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def __len__(self) -> int:
        return sum(len(each) for each in self._rest)

    def setblocking(self, flag: bool) -> None:
        """Do nothing: no call here waits, whatever the socket's mode, and setting it would hand on the interpreter."""

    def send(self, data: bytes) -> int:
        """Send nothing: gunicorn uses this only for 100 Continue, and the body has already come or is not wanted."""
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Keep the data until it is flushed."""
        self.has_begun = True
        self._rest.append(memoryview(data))

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> None:
        """Send part of a file; the files that are served here are short enough to be kept."""
        file.seek(offset)
        self.sendall(file.read(-1 if count is None else count))

    def flush(self) -> int:
        """Send as much as the client takes now, and return how much that was. Raises: OSError."""
        sent = 0
        while self._rest:
            try:
                count = self._sock.sendmsg(islice(self._rest, MOST_AT_ONCE), (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            sent += count
            while self._rest and count >= len(self._rest[0]):
                count -= len(self._rest.popleft())
            if count:
                self._rest[0] = self._rest[0][count:]
        return sent
