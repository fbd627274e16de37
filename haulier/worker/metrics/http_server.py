"""The server of the worker's port: few connections, each for a short time, whatever its callers do.

Source: http.server and socketserver, whose own server starts a thread for each connection, without a limit, and waits
for each read anew.
"""

from __future__ import annotations

import errno
import io
import logging
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

# For a request, and for each of the two pieces of an answer: nobody keeps a thread of ours waiting for longer.
REQUEST_SECONDS = 10.0
HEAD_BYTES = 16 * 1024
# Of the files that the process may have open; the rest is for connections of the handlers.
SHARE_OF_FILES = 32
LEAST_CONNECTIONS, MOST_CONNECTIONS = 2, 32
# How long a new connection waits for the one that it displaces to be gone.
ROOM_SECONDS = 0.2

Header = tuple[str, str]

log = logging.getLogger(__name__)


def most_connections() -> int:
    """Return how many connections scrapers may have, by the limit of open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    share = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else files // SHARE_OF_FILES
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, share))


class PortServer(ThreadingHTTPServer):
    """A server at a door that others serve too. Of too many connections, the one that is open longest is closed."""

    def __init__(self, door: socket.socket, handler: type, most: int | None = None) -> None:
        super().__init__(door.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        # Whoever comes second finds nobody at the door, and must not wait there.
        door.setblocking(False)
        self.socket = door
        self._most = most or most_connections()
        # In the order in which they came.
        self._open: dict[socket.socket, None] = {}
        self._room = threading.Condition()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a scraper's connection. Raises: OSError where there is none, or no room for it yet."""
        with self._room:
            if len(self._open) >= self._most:
                self._displace()
        try:
            scraper, address = self.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # It stays at the door; without a pause we would ask again and again. One that leaves makes room.
                with self._room:
                    self._room.wait(ROOM_SECONDS)
            raise
        with self._room:
            self._open[scraper] = None
        return scraper, address

    def shutdown_request(self, request: Any) -> None:
        """Close a scraper's connection."""
        super().shutdown_request(request)
        with self._room:
            self._open.pop(request, None)
            self._room.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong with a scrape; that the scraper has left is not worth a line."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log.exception("a scrape of the metrics failed")

    def _displace(self) -> None:
        oldest = next(iter(self._open))
        with suppress(OSError):
            # Its thread wakes up, and closes it.
            oldest.shutdown(socket.SHUT_RDWR)
        if not self._room.wait_for(lambda: len(self._open) < self._most, ROOM_SECONDS):
            raise BlockingIOError("every connection is in use")


class PortHandler(MetricsHandler):
    """A request on the port: its head is read whole, in so much time and no more, before it is looked at."""

    # An answer to what is no HTTP, too, begins as one.
    default_request_version = "HTTP/1.0"

    def setup(self) -> None:
        """Read the head. Raises: OSError."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(self._head())

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "haulier"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, without a page: what is asked wrongly is no fault of the server's, as 501 and 505 say."""
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
        ends, head = time.monotonic() + REQUEST_SECONDS, b""
        while b"\r\n\r\n" not in head:
            left = ends - time.monotonic()
            if left <= 0 or len(head) > HEAD_BYTES:
                return b""
            self.connection.settimeout(left)
            more = self.connection.recv(4096)
            if not more:
                return b""
            head += more
        self.connection.settimeout(REQUEST_SECONDS)
        return head
