"""What a handler is given beside its payload."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from app.config import Config
from app.domain.job import Job
from app.kinds.signals import JobCancelled, StopReason


@dataclass(slots=True)
class JobContext:
    """The job being run, and the way to learn that it is to stop.

    Shape: `settings` is the process's Config, for kinds that reach the outside.
    """

    job: Job
    settings: Config
    _stop: threading.Event = field(default_factory=threading.Event)
    _reason: StopReason | None = None

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop; the first reason given is the one it sees."""
        if self._reason is None:
            self._reason = reason
        self._stop.set()

    @property
    def stop_reason(self) -> StopReason | None:
        """Return why the job is to stop, or None while it may go on."""
        return self._reason

    @property
    def cancelled(self) -> bool:
        """Tell whether the job is to stop."""
        return self._stop.is_set()

    def raise_if_cancelled(self) -> None:
        """Return at once while the job may go on. Raises: JobCancelled."""
        if self._stop.is_set():
            raise JobCancelled(self._reason or StopReason.CANCELLED)

    def wait(self, seconds: float) -> None:
        """Sleep, but wake and raise as soon as the job is to stop. Raises: JobCancelled."""
        self._stop.wait(seconds)
        self.raise_if_cancelled()
