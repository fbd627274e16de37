"""The HTTP server of the worker's port: few connections, each for a short time, whatever its clients do.

Source: http.server and socketserver. Their own server starts threads without a limit, its timeout begins again with
each read; they take HTTP/0.9, and a head of 6 MB.
"""

from __future__ import annotations

import errno
import io
import logging
import re
import resource
import socket
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import MetricsHandler

# The longest that a connection may last, and that its client may take for each read.
REQUEST_SECONDS = 10.0
HEAD_BYTES = 16 * 1024
# What is read of a request that was refused for its length. Closing with unread bytes would reset the connection, and
# the client would not see the answer.
DRAINED_BYTES = 2**20
REQUEST_LINE = re.compile(rb"[^ ]+ [^ ]+ HTTP/1\.[0-9]\r?\n")
# One in this many of the files that the process may open; the rest is for connections of the handlers.
SHARE_OF_FILES = 32
LEAST_CONNECTIONS, MOST_CONNECTIONS = 2, 32
# How long a new connection waits for the one that it displaces to be closed.
ROOM_SECONDS = 0.2

Header = tuple[str, str]

log = logging.getLogger(__name__)


def most_connections() -> int:
    """Return how many connections scrapers may have, by the limit of open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    share = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else files // SHARE_OF_FILES
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, share))


class PortServer(ThreadingHTTPServer):
    """A server on a socket that other processes listen on too. Of too many connections, the oldest is closed."""

    def __init__(self, listening: socket.socket, handler: type) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        # Another process may accept a connection first, and then this one must not wait in accept.
        listening.setblocking(False)
        self.socket = listening
        self._most = most_connections()
        # When each connection was taken, oldest first.
        self._open: dict[socket.socket, float] = {}
        self._room = threading.Condition()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a client's connection. Raises: OSError if there is none, or no room for it yet."""
        with self._room:
            if len(self._open) >= self._most:
                self._displace()
        try:
            scraper, address = self.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Out of files. The connection stays in the backlog; without a pause, accept would be tried over and
                # over. A connection that closes makes room.
                with self._room:
                    self._room.wait(ROOM_SECONDS)
            raise
        with self._room:
            self._open[scraper] = time.monotonic()
        return scraper, address

    def shutdown_request(self, request: Any) -> None:
        """Close a client's connection."""
        super().shutdown_request(request)
        with self._room:
            self._open.pop(request, None)
            self._room.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong with a scrape, unless the client has only left."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log.exception("serving the metrics failed")

    def service_actions(self) -> None:
        """End the connections that last too long; `serve_forever` calls this all the time."""
        with self._room:
            for scraper, since in self._open.items():
                if since + REQUEST_SECONDS < time.monotonic():
                    _end(scraper)

    def _displace(self) -> None:
        _end(next(iter(self._open)))
        if not self._room.wait_for(lambda: len(self._open) < self._most, ROOM_SECONDS):
            raise BlockingIOError("all connections are in use")


def _end(scraper: socket.socket) -> None:
    """Wake the connection's thread, which closes it."""
    with suppress(OSError):
        scraper.shutdown(socket.SHUT_RDWR)


class PortHandler(MetricsHandler):
    """A request on the port."""

    timeout = REQUEST_SECONDS
    raw_requestline: bytes
    # Of an answer to what is no HTTP/1; at HTTP/0.9 it would have no status line.
    requestline, request_version = "", "HTTP/1.0"

    def parse_request(self) -> bool:
        """Read the head; return False after an answer that refuses it."""
        # A client of HTTP/0.9 sends no head and waits: the answer comes after the first line.
        is_valid, head, line = REQUEST_LINE.fullmatch(self.raw_requestline) is not None, b"", b""
        while is_valid and line not in (b"\r\n", b"\n"):
            line = self.rfile.readline(HEAD_BYTES)
            head += line
            is_valid = line != b"" and len(head) < HEAD_BYTES
        if is_valid:
            self.rfile = io.BytesIO(head)
            return super().parse_request()
        is_long = len(head) >= HEAD_BYTES
        self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_long else HTTPStatus.BAD_REQUEST)
        return False

    def version_string(self) -> str:
        """Return the value of the header Server."""
        return "haulier"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, without an HTML page; an unknown method is 405, and not a fault of the server's."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", ("Allow", "GET"))
            return
        self.answer(code, b"")
        self.connection.shutdown(socket.SHUT_WR)
        left = DRAINED_BYTES
        while left > 0 and (read := self.connection.recv(65_536)):
            left -= len(read)

    def answer(self, status: int, body: bytes, *headers: Header) -> None:
        """Send an answer, and close."""
        self.close_connection = True
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body))), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
