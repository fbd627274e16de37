"""The context that a handler gets beside its payload."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from haulier.config import Config
from haulier.domain.job import MOST_EXACT, Job
from haulier.domain.progress import Progress, cut_note, plain_number
from haulier.kinds.sdk.endings import JobCancelled, StopReason

# One lock for all contexts, held only while an Event is made or set.
_making = threading.Lock()


@dataclass(slots=True)
class JobContext:
    """The job that runs, whether it is to stop, and how far it has come.

    `settings` is the process's Config, for kinds that reach other machines.
    """

    job: Job
    settings: Config
    # Made at the first `wait`: most handlers never wait, and making an Event costs more than running a small job.
    _stop: threading.Event | None = None
    _reason: StopReason | None = None
    # A plain tuple in one assignment: it is read by another thread, and nobody locks anything.
    _said: tuple[float, float | None, str | None, float] | None = None

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
        """Return whether the job is to stop."""
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

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the job has come; what was said last is shown with the job, a second later or so.

        Done and total are numbers from 0 to 2**53; of a note 200 characters are kept.
        Raises: TypeError, ValueError.
        """
        # Handlers call it in their innermost loops: what is as it mostly is costs 0.4 us.
        if type(done) is not int or not 0 <= done <= MOST_EXACT:
            done = plain_number("done", done)
        if total is not None and (type(total) is not int or not 0 <= total <= MOST_EXACT):
            total = plain_number("total", total)
        if note is not None:
            note = cut_note(note)
        self._said = (done, total, note, time.monotonic())

    @property
    def said(self) -> Progress | None:
        """Return what the handler last said of its progress, or None if it has said nothing."""
        said = self._said
        return None if said is None else Progress(*said)
