"""Retry-After, as servers send it: how long they ask to be left alone.

Source: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

# A server that is wrong about its clock, or says a week, must not keep a job for so long.
MOST_SECONDS = 3600.0


class Headers(Protocol):
    """Header fields by their names, as libraries for HTTP have them; a dict will do."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return the names, in any case of letters, each with its value."""
        ...


class Response(Protocol):
    """An answer to a request, of requests, httpx, urllib or whatever else has headers."""

    @property
    def headers(self) -> Headers:
        """Return its header fields."""
        ...


def asked_delay(response: Response | Headers | None, most: float) -> float | None:
    """Return how long the response asks to wait, at most so long, or None if it does not. Units: seconds."""
    headers: Any = getattr(response, "headers", response)
    if headers is None:
        return None
    value = next((value for name, value in headers.items() if str(name).lower() == "retry-after"), None)
    return None if value is None else retry_after(str(value), most)


def retry_after(value: str, most: float = MOST_SECONDS) -> float | None:
    """Return the seconds that the header's value asks for, at most so many, or None if it makes no sense."""
    text = value.strip()
    if re.fullmatch(r"[0-9]+", text):
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(seconds, most) if seconds > 0 else None
