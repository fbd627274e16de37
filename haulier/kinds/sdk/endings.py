"""The exceptions by which a handler says how its run ends; any other exception is a failed attempt."""

from __future__ import annotations

from enum import StrEnum


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
        self.after = after


class Fail(Exception):
    """This job failed for good: no further attempt would succeed."""
