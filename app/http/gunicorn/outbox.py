"""Holds the bytes that are still to be sent to a client. gunicorn writes into it as into a socket, without waiting."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any, BinaryIO

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Outbox:
    """A socket that sends what it can at once and keeps the rest."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest: deque[memoryview] = deque()
        self.has_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def __len__(self) -> int:
        return sum(len(each) for each in self._rest)

    def send(self, data: bytes) -> int:
        """Send nothing: gunicorn uses this for 100 Continue alone, and the body has already come or is not wanted."""
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send the data after everything that is still to be sent. Raises: OSError."""
        self.has_begun = True
        self._rest.append(memoryview(data))
        if len(self._rest) == 1:
            self.flush()

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> None:
        """Send part of a file; the files that are served here are short enough to be kept. Raises: OSError."""
        file.seek(offset)
        self.sendall(file.read(-1 if count is None else count))

    def flush(self) -> int:
        """Send as much as the client takes now, and return how much that was. Raises: OSError."""
        sent = 0
        while self._rest:
            try:
                count = self._sock.send(self._rest[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            sent += count
            rest = self._rest.popleft()[count:]
            if rest:
                self._rest.appendleft(rest)
        return sent
