"""Calls by a new connection each, with the path and the headers exactly as a test gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from tests.patience import PATIENCE


@dataclass(frozen=True)
class Answer:
    """An answer. `server` is the one that made it, as host:port, if the router says so."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def server(self) -> str | None:
        return self.headers.get("X-Server")


def call(
    address: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    *,
    chunked: bool = False,
) -> Answer:
    """Make the call. `body` is sent as JSON, unless it is bytes. Raises: OSError; HTTPException."""
    sent = {"Content-Type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with closing(HTTPConnection(address, timeout=PATIENCE)) as conn:
        if chunked:
            pieces = (data[at : at + 65536] for at in range(0, len(data), 65536))
            conn.request(method, path, pieces, {**sent, "Transfer-Encoding": "chunked"}, encode_chunked=True)
        else:
            conn.request(method, path, data, sent)
        response = conn.getresponse()
        return Answer(response.status, response.headers, response.read())
