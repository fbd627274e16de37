"""Servers that answer as no Haulier should: late, not at all, with other words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

Handle = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(handle: Handle) -> Iterator[str]:
    """Serve each request by this function, and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            handle(self)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Send an answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def body_of(handler: BaseHTTPRequestHandler) -> bytes:
    """Return the body of the request."""
    return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))


@contextmanager
def lossy(url: str, *, lost: int) -> Iterator[str]:
    """Pass requests on to a service, and break the connection instead of the first answers."""
    left = [lost]

    def handle(handler: BaseHTTPRequestHandler) -> None:
        body = body_of(handler) or None
        kept = {name: value for name, value in handler.headers.items() if name not in ("Host", "Connection")}
        with urlopen(Request(url + handler.path, data=body, headers=kept, method=handler.command)) as said:
            status, answered = said.status, said.read()
        if left[0]:
            left[0] -= 1
            handler.close_connection = True
            return
        answer(handler, status, answered, Content_Type="application/json")

    with serving(handle) as at:
        yield at
