"""Requests as bytes, since what is hostile in many of them is what no client library would send."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

JSON = "application/json"
CONTINUE = 100
REFUSED = range(400, 500)
# It asks for no change, so it may be answered.
HARMLESS = range(200, 500)


@dataclass(frozen=True)
class Hostile:
    """One hostile request. Shape: allowed holds the statuses that it may get; to be closed upon is always right."""

    name: str
    sent: bytes
    allowed: Collection[int] = REFUSED


@dataclass(frozen=True)
class Answered:
    """What came back until the server closed. Shape: statuses is empty where it closed without a word."""

    text: bytes
    statuses: tuple[int, ...]


def request(
    method: str,
    path: str | bytes,
    body: str | bytes = b"",
    *,
    content_type: str | None = JSON,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a request that is well framed, whatever is in it; `headers` go before those that frame it."""
    content = body.encode() if isinstance(body, str) else body
    target = path.encode() if isinstance(path, str) else path
    given = {"Host": "localhost", **(headers or {})}
    if content or method in ("POST", "PUT", "PATCH"):
        given = {**({"Content-Type": content_type} if content_type is not None else {}), **given}
        given["Content-Length"] = str(len(content))
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items()).encode("latin-1")
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n" + content


def post(path: str, body: Any, **options: Any) -> bytes:
    """Return a POST of this value as JSON; bytes and text are taken as they are."""
    return request("POST", path, body if isinstance(body, str | bytes) else json.dumps(body), **options)


def send(url: str, sent: bytes) -> Answered:
    """Send the bytes, say that no more will come, and return what comes back. Raises: TimeoutError after 10 s."""
    address = urlsplit(url)
    received = b""
    with socket.create_connection((address.hostname, address.port), timeout=10) as conn:
        # A server may answer and close before it has read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            conn.sendall(sent)
        # It may have closed already, and be gone.
        with suppress(OSError):
            conn.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while more := conn.recv(65536):
                received += more
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3})\b", received)]
    return Answered(received, tuple(status for status in statuses if status != CONTINUE))
