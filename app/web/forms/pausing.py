"""The form that pauses something: for a while, until a time, or until resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ..kit.viewer import Viewer
from ..words.filters import read_duration, read_time

# "until" reads a time; "" has no end.
CHOICES: Mapping[str, str] = {"15m": "15 minutes", "1h": "1 hour", "8h": "8 hours", "": "until resumed"}


class NoTime(ValueError):
    """The text is not a time."""


@dataclass(frozen=True, slots=True)
class PauseForm:
    """The form as it was sent. `fault` is about its time."""

    choice: str = "15m"
    until: str = ""
    reason: str = ""
    fault: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> PauseForm:
        """Return the form that was sent."""
        return cls(
            given.get("for", "")[:20], given.get("until", "").strip()[:100], given.get("reason", "").strip()[:200]
        )

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """Return the lengths to choose from, with their names."""
        return tuple(CHOICES.items())

    def end(self, by: Viewer) -> datetime | None:
        """Return the end of the pause; None: until resumed. Raises: NoTime."""
        if self.choice == "until":
            at = read_time(self.until, by.prefers.time_zone)
            if at is None:
                raise NoTime
            return at
        duration = read_duration(self.choice) if self.choice in CHOICES else None
        if duration is None and self.choice:
            raise NoTime
        return None if duration is None else by.now + duration

    def with_fault(self, error: Exception) -> PauseForm:
        """Return the form with the fault of its time."""
        is_odd = isinstance(error, NoTime)
        return replace(self, fault="Must be a time, e.g. 2026-11-26T16:00." if is_odd else "Must be in the future.")
