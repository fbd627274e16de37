"""The HTTP server of the worker's port: few connections, each for a short time, whatever its clients do.

Source: http.server and socketserver. Their own server starts threads without a limit, and its timeout begins anew with
each read.
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

# The longest that a client may take for a request, and for each of the two parts of an answer.
REQUEST_SECONDS = 10.0
HEAD_BYTES = 16 * 1024
# What is read of a request that was refused for its length. Closing with unread bytes would reset the connection, and
# the client would not see the answer.
DRAINED_BYTES = 2**20
REQUEST_LINE = re.compile(rb"[^ ]+ [^ ]+ HTTP/1\.[0-9]\r?")
END_OF_HEAD = re.compile(rb"\n\r?\n")
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

    def __init__(self, listening: socket.socket, handler: type, most: int | None = None) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        # Another process may accept a connection first, and then this one must not wait in accept.
        listening.setblocking(False)
        self.socket = listening
        self._most = most or most_connections()
        # The connections, oldest first.
        self._open: dict[socket.socket, None] = {}
        self._room = threading.Condition()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a client's connection. Raises: OSError where there is none, or no room for it yet."""
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
            self._open[scraper] = None
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
            log.exception("a scrape of the metrics failed")

    def _displace(self) -> None:
        oldest = next(iter(self._open))
        with suppress(OSError):
            # This wakes the connection's thread, which closes it.
            oldest.shutdown(socket.SHUT_RDWR)
        if not self._room.wait_for(lambda: len(self._open) < self._most, ROOM_SECONDS):
            raise BlockingIOError("every connection is in use")


class PortHandler(MetricsHandler):
    """A request on the port. Its head is read whole, within REQUEST_SECONDS, before it is parsed."""

    # At HTTP/0.9, which is the default, an answer to what is no HTTP would have no status line.
    default_request_version = "HTTP/1.0"
    # Why the head is refused.
    _refusal: HTTPStatus | None = None

    def setup(self) -> None:
        """Read the head. Raises: OSError."""
        super().setup()
        self.rfile.close()
        self._ends = time.monotonic() + REQUEST_SECONDS
        self.rfile = io.BytesIO(self._head())

    def handle(self) -> None:
        """Answer the request."""
        if self._refusal is None:
            super().handle()
            return
        self.requestline, self.request_version, self.command = "", self.default_request_version, ""
        self.send_error(self._refusal)
        self._drain()

    def version_string(self) -> str:
        """Return the value of the header Server."""
        return "haulier"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, without an HTML page. 501 and 505, which blame the server for a wrong request, become 405 and 400."""
        told = {HTTPStatus.NOT_IMPLEMENTED: HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: 400}
        status = int(told.get(HTTPStatus(code), code))
        self.answer(status, b"", *([("Allow", "GET")] if status == HTTPStatus.METHOD_NOT_ALLOWED else []))

    def answer(self, status: int, body: bytes, *headers: Header) -> None:
        """Send an answer, and close."""
        self.close_connection = True
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body))), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _head(self) -> bytes:
        """Return the head; nothing if it is refused, did not come in time, or if the client sent nothing."""
        head = b""
        while not END_OF_HEAD.search(head):
            more = self._received()
            head += more
            self._refusal = _refusal_of(head, is_whole=not more)
            if self._refusal or not more:
                return b""
        self.connection.settimeout(REQUEST_SECONDS)
        return head

    def _received(self) -> bytes:
        """Return the next bytes; none if the client sends no more. Raises: TimeoutError."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        received: bytes = self.connection.recv(4096)
        return received

    def _drain(self) -> None:
        self.connection.shutdown(socket.SHUT_WR)
        left = DRAINED_BYTES
        while left > 0 and (read := self._received()):
            left -= len(read)


def _refusal_of(head: bytes, *, is_whole: bool) -> HTTPStatus | None:
    """Return why to refuse what has come of a head. HTTP/0.9 has no head, and its client waits after the first line."""
    line, end, _ = head.partition(b"\n")
    if end and not REQUEST_LINE.fullmatch(line) or head and is_whole:
        return HTTPStatus.BAD_REQUEST
    if len(head) > HEAD_BYTES:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if end else HTTPStatus.REQUEST_URI_TOO_LONG
    return None
