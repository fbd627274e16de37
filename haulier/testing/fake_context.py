"""A handler's context whose clock is its own, and which asks the handler to stop if the test wants it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.config import Config
from haulier.domain.job import Job
from haulier.kinds import JobContext, StopReason

# Some seconds' worth: a handler that has looked this often, and was not asked to stop, waits for what never comes.
MOST_LOOKS = 1_000_000

# Done, total and note, as a test writes them down.
Word = tuple[float, float | None, str | None]


@dataclass(frozen=True, slots=True)
class Stop:
    """When the handler is asked to stop, and why. Units: after is seconds of the fake clock; at counts looks from 1."""

    reason: StopReason
    after: float | None = None
    at: int | None = None


class Endless(BaseException):
    """Raised inside a handler that has looked too often; a BaseException, for the reason that JobCancelled is one."""


class FakeContext(JobContext):
    """A context in which no time passes but by `wait`, which returns at once.

    `looks` counts how often the handler has looked whether it is to stop: by wait, raise_if_cancelled, cancelled. words
    are what it has said of its progress, in order: done, total and note.
    Units: now is the seconds since the run began.
    """

    def __init__(self, job: Job, settings: Config, stops: Sequence[Stop]) -> None:
        super().__init__(job, settings)
        self.now = 0.0
        self.looks = 0
        self.words: list[Word] = []
        self._stops = stops
        self._thread = threading.get_ident()

    @property
    def cancelled(self) -> bool:
        """Return whether the job is to stop."""
        self._look()
        return super().cancelled

    def raise_if_cancelled(self) -> None:
        """Return at once while the job may continue. Raises: JobCancelled."""
        self._look()
        super().raise_if_cancelled()

    def wait(self, seconds: float) -> None:
        """Advance the clock, but not past the moment at which the job is to stop. Raises: JobCancelled."""
        self._look()
        if self.stop_reason is None:
            self._let_pass(seconds)
        super().raise_if_cancelled()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the job has come. Raises: TypeError, ValueError."""
        super().progress(done, total, note)
        if (said := self.said) is not None:
            self.words.append((said.done, said.total, said.note))

    def _look(self) -> None:
        # Other threads, as one that watches a socket, look as often as they come to it: that would be no number.
        if threading.get_ident() != self._thread:
            return
        self.looks += 1
        if self.looks > MOST_LOOKS:
            raise Endless
        for stop in self._stops:
            if stop.at == self.looks or (stop.after is not None and stop.after <= self.now):
                self.stop(stop.reason)

    def _let_pass(self, seconds: float) -> None:
        until = self.now + seconds
        due = [(stop.after, stop.reason) for stop in self._stops if stop.after is not None and stop.after <= until]
        if due:
            until, reason = min(due, key=lambda each: each[0])
            self.stop(reason)
        self.now = max(self.now, until)
