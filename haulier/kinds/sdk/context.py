"""What a handler is given beside its payload."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from haulier.config import Config
from haulier.domain.job import Job
from haulier.kinds.sdk.endings import JobCancelled, StopReason

# Held for no longer than it takes to make an Event or to set one.
_making = threading.Lock()


@dataclass(slots=True)
class JobContext:
    """The job being run, and the way to learn that it is to stop.

    Shape: `settings` is the process's Config, for kinds that reach the outside.
    """

    job: Job
    settings: Config
    # Made by the first that waits: most handlers never do, and making one costs more than running a small job.
    _stop: threading.Event | None = None
    _reason: StopReason | None = None

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop; the first reason given is the one it sees."""
        with _making:
            if self._reason is None:
                self._reason = reason
            if self._stop is not None:
                self._stop.set()

    @property
    def stop_reason(self) -> StopReason | None:
        """Return why the job is to stop, or None while it may go on."""
        return self._reason

    @property
    def cancelled(self) -> bool:
        """Tell whether the job is to stop."""
        return self._reason is not None

    def raise_if_cancelled(self) -> None:
        """Return at once while the job may go on. Raises: JobCancelled."""
        if self._reason is not None:
            raise JobCancelled(self._reason)

    def wait(self, seconds: float) -> None:
        """Sleep, but wake and raise as soon as the job is to stop. Raises: JobCancelled."""
        with _making:
            if self._stop is None:
                self._stop = threading.Event()
                if self._reason is not None:
                    self._stop.set()
        self._stop.wait(seconds)
        self.raise_if_cancelled()
