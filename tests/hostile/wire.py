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
# A good request, of which the hostile ones are made.
EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
TEXT = json.dumps(EMAIL)
SOME_ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
CONTINUE = 100
REFUSED = range(400, 500)
# It asks for no change, so it may be answered.
HARMLESS = range(200, 500)

_ANSWER = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b[^\r\n]*((?:\r\n[^\r\n]+)*\r\n)\r\n")


@dataclass(frozen=True)
class Hostile:
    """One hostile request.

    `allowed` holds the statuses that it may get; to be closed upon is always right. answers is how many there may be,
    and None if it holds several requests.
    """

    name: str
    sent: bytes
    allowed: Collection[int] = REFUSED
    answers: int | None = 1


@dataclass(frozen=True)
class Answered:
    """What came back until the server closed.

    `statuses` is empty if it closed without a word; rest is what belongs to no answer, or came after the last.
    """

    text: bytes
    statuses: tuple[int, ...]
    rest: bytes = b""


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
    return answered(received, is_head=sent.startswith(b"HEAD "))


def answered(received: bytes, *, is_head: bool = False) -> Answered:
    """Return the answers, one behind the other; by their lengths, as a client reads them."""
    statuses, rest, is_last = [], received, False
    while not is_last and (found := _ANSWER.match(rest)):
        status, lines = int(found[1]), found[2].lower()
        length = 0 if is_head else _length(lines, rest[found.end() :])
        if length > len(rest) - found.end():
            break
        rest = rest[found.end() + length :]
        if status != CONTINUE:
            statuses.append(status)
            is_last = b"\r\nconnection: close\r\n" in lines
    return Answered(received, tuple(statuses), rest)


def _length(lines: bytes, body: bytes) -> int:
    if b"\r\ntransfer-encoding: chunked\r\n" in lines:
        return body.find(b"\r\n0\r\n\r\n") + 7
    given = re.search(rb"\r\ncontent-length: ([0-9]+)\r\n", lines)
    return int(given[1]) if given else 0
