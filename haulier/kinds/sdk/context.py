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
    """What a handler gets beside its payload: its job, whether to stop, and a way to report progress.

    Attributes:
        job: The job that runs.
        settings: The settings of the process, for kinds that reach other machines.
    """

    job: Job
    settings: Config
    # Made at the first `wait`: most handlers never wait, and making an Event costs more than running a small job.
    _stop: threading.Event | None = None
    _reason: StopReason | None = None
    # A plain tuple in one assignment: it is read by another thread, and nobody locks anything.
    _said: tuple[float, float | None, str | None, float] | None = None

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop. The worker calls this; if it asks twice, the first reason counts."""
        with _making:
            if self._reason is None:
                self._reason = reason
            if self._stop is not None:
                self._stop.set()

    @property
    def stop_reason(self) -> StopReason | None:
        """Return why the job is to stop, or None while it may continue."""
        return self._reason

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop."""
        return self._reason is not None

    def raise_if_cancelled(self) -> None:
        """Return at once while the job may continue. Raises: JobCancelled."""
        if self._reason is not None:
            raise JobCancelled(self._reason)

    def wait(self, seconds: float) -> None:
        """Sleep, and wake up early if the job should stop.

        Args:
            seconds: How long to sleep.

        Raises:
            JobCancelled: The job should stop.
        """
        with _making:
            if self._stop is None:
                self._stop = threading.Event()
                if self._reason is not None:
                    self._stop.set()
        self._stop.wait(seconds)
        self.raise_if_cancelled()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Report progress. The last report is shown with the job about a second later.

        Args:
            done: How much is done, from 0 to 2**53.
            total: How much there is to do, from 0 to 2**53, if known.
            note: A text for people. The first 200 characters are kept.

        Raises:
            TypeError: `done` or `total` is not a number, or `note` is not a text.
            ValueError: `done` or `total` is out of range.
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
        """The last progress that the handler reported; None before the first report."""
        said = self._said
        return None if said is None else Progress(*said)
