"""The exceptions by which a handler says how its run ends; any other exception is a failed attempt.

Source: RFC 9110, section 10.2.3, for Retry-After.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Protocol, Self

# A server that is wrong about its clock, or says a week, must not keep a job for this long.
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
    """Return how long the response asks to wait, at most this long, or None if it does not. Units: seconds."""
    headers: Any = getattr(response, "headers", response)
    if headers is None:
        return None
    value = next((value for name, value in headers.items() if str(name).lower() == "retry-after"), None)
    return None if value is None else retry_after(str(value), most)


def retry_after(value: str, most: float = MOST_SECONDS) -> float | None:
    """Return the seconds that the header's value asks for, at most this many, or None if it makes no sense."""
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


class StopReason(StrEnum):
    """Why a running job should stop.

    Attributes:
        CANCELLED: Somebody cancelled the job.
        TIMEOUT: The run takes longer than its timeout.
        SHUTDOWN: The worker stops. The job runs again on another worker, and this attempt is not counted.
        LEASE_LOST: The worker lost contact with the database, so another worker may run the job now.
    """

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"


class JobCancelled(BaseException):
    """Raised inside a handler that should stop. `except Exception` does not catch it: it is a `BaseException`.

    Attributes:
        reason: Why the job should stop.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"the job is to stop: {reason}")
        self.reason = reason


class Snooze(Exception):
    """Raise this to run the job again later without counting this attempt. A job can do so 100 times.

    Args:
        seconds: How long to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds} s")
        self.seconds = seconds


class Retry(Exception):
    """Raise this if the attempt failed and the job should run again.

    Args:
        message: The error of the attempt.
        after: How many seconds to wait; without it, the kind's `RetryPolicy` decides.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.seconds = after

    @classmethod
    def after(
        cls, response: Response | Headers | None, message: str | None = None, *, most: float = MOST_SECONDS
    ) -> Self:
        """Return the retry that an HTTP response asks for with its header Retry-After.

        A response of requests, httpx or the like, or only its headers. One that asks for nothing, or for nonsense,
        leaves the delay to the kind's own back-off.
        Units: most is seconds.
        """
        return cls(message or _said(response), after=asked_delay(response, most))


def _said(response: object) -> str:
    # Never its URL, nor its reason, which the other side has written.
    status = getattr(response, "status_code", getattr(response, "status", None))
    return f"answered {status}" if isinstance(status, int) else "the handler asked for a retry"


class Fail(Exception):
    """This job failed permanently: no further attempt would succeed."""
