"""The context that a handler gets beside its payload."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from haulier.config import Config
from haulier.domain.job import Job
from haulier.kinds.sdk.endings import JobCancelled, StopReason

# One lock for all contexts, held only while an Event is made or set.
_making = threading.Lock()


@dataclass(slots=True)
class JobContext:
    """The job that runs, and whether it is to stop.

    Shape: `settings` is the process's Config, for kinds that reach other machines.
    """

    job: Job
    settings: Config
    # Made at the first `wait`: most handlers never wait, and making an Event costs more than running a small job.
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
        """Sleep this long, or until the job is to stop. Raises: JobCancelled."""
        with _making:
            if self._stop is None:
                self._stop = threading.Event()
                if self._reason is not None:
                    self._stop.set()
        self._stop.wait(seconds)
        self.raise_if_cancelled()
