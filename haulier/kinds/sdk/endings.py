"""The exceptions by which a handler says how its run ends; any other exception is a failed attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from haulier.kinds.sdk.retry_after import MOST_SECONDS, Headers, Response, asked_delay


class StopReason(StrEnum):
    """Why a running job is asked to stop."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"


class JobCancelled(BaseException):
    """Raised inside a handler that is to stop; a BaseException, so that `except Exception` does not catch it."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"the job is to stop: {reason}")
        self.reason = reason


class Snooze(Exception):
    """Run this job again later without counting the attempt, at most 100 times a job. Units: seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds} s")
        self.seconds = seconds


class Retry(Exception):
    """This attempt failed; try again after the given seconds, or after the kind's own back-off."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.seconds = after

    @classmethod
    def after(
        cls, response: Response | Headers | None, message: str | None = None, *, most: float = MOST_SECONDS
    ) -> Self:
        """Return the retry that a response asks for: after the seconds, or at the date, of its Retry-After.

        A response of requests, httpx or the like, or its headers alone. One that asks for nothing, or for nonsense,
        leaves the delay to the kind's own back-off.
        Units: most is seconds.
        """
        return cls(message or _said(response), after=asked_delay(response, most))


def _said(response: object) -> str:
    # Never its URL, nor its reason, which the other side has written.
    status = getattr(response, "status_code", getattr(response, "status", None))
    return f"answered {status}" if isinstance(status, int) else "asked to be tried again later"


class Fail(Exception):
    """This job failed for good: no further attempt would succeed."""
