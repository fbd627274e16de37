"""The health of the database: what each check found, how bad that is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How a check ended. Unknown if the role may not see what it would have to."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which number on a check warns, and is bad; None: never. With is_least, from which on downwards."""

    unit: str
    warn: float | None = None
    bad: float | None = None
    is_least: bool = False

    def judge(self, number: float) -> CheckState:
        """Return how bad the number is."""
        if self._is_reached(self.bad, number):
            return CheckState.BAD
        return CheckState.WARN if self._is_reached(self.warn, number) else CheckState.OK

    def _is_reached(self, limit: float | None, number: float) -> bool:
        return limit is not None and (number <= limit if self.is_least else number >= limit)


@dataclass(frozen=True, slots=True)
class Found:
    """What a check has seen.

    Number None: nothing could be seen; hidden says what could not. is_late: for want of time.
    """

    number: float | None
    message: str
    fix: str
    hidden: str | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A check, with what it means for jobs, and what to do.

    `fix` is None if there is nothing to do; is_late: it is unknown for want of time.
    """

    name: str
    state: CheckState
    number: float | None
    threshold: Threshold
    message: str
    effect: str
    fix: str | None
    is_late: bool = False


def judged(name: str, found: Found, threshold: Threshold, effect: str) -> Check:
    """Return the check with its state."""
    state = CheckState.UNKNOWN if found.number is None else threshold.judge(found.number)
    message = found.message
    if found.hidden:
        message = f"{message}; {found.hidden}" if found.number is not None else found.hidden
        state = CheckState.UNKNOWN if state is CheckState.OK else state
    fix = None if state is CheckState.OK else found.fix
    return Check(name, state, found.number, threshold, message, effect, fix, found.is_late)
