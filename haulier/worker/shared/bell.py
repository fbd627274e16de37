"""Where the thread that looks for work waits, and whoever has some wakes it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

# How long the process may stand still for a job that has crashed before; doubled each time that was not enough.
FIRST_DRAIN_SECONDS = 10.0
# Whose turn it is to stand still changes more often: it may be that of a process which is paused, or dead.
TURN_SECONDS = 5.0


class Bell:
    """The bell, and when the database last answered the question for work."""

    def __init__(self) -> None:
        # Locked while nobody has rung. A lock, because whoever waits for it wakes sooner than from an Event.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._answered_at = time.monotonic()
        # A thread waits to be alone with a suspect, or is: nobody is free to claim.
        self.is_reserved = False

    def ring(self) -> None:
        """Wake the thread that looks for work, or let its next look follow at once."""
        if self._bell.locked():
            self._let_go()

    def heed(self) -> None:
        """Forget the rings so far; to be called before looking, so that a ring during the look is not lost."""
        self._bell.acquire(blocking=False)

    def answered(self) -> None:
        """Note that the database has answered a claim, with a job or without."""
        self._answered_at = time.monotonic()

    @property
    def answer_age(self) -> float:
        """Return the time since a claim was last answered. Units: seconds."""
        return time.monotonic() - self._answered_at

    def wait(self, seconds: float) -> None:
        """Wait for a ring, but no longer than this."""
        if self._bell.acquire(timeout=max(0.0, seconds)):
            self._let_go()

    def _let_go(self) -> None:
        # Another may have been quicker.
        with suppress(RuntimeError):
            self._bell.release()


class Patience:
    """How long the process waits to be alone for a suspect: it grows until it suffices, and rests as long between.

    So at most half of the time goes into waiting, and a suspect among long jobs still gets its turn.
    """

    def __init__(self) -> None:
        self.seconds = FIRST_DRAIN_SECONDS
        self._not_before = float("-inf")

    def is_ready(self) -> bool:
        """Tell whether it is time to wait again."""
        return time.monotonic() >= self._not_before

    def exhausted(self) -> None:
        """Note that the wait was in vain."""
        self._not_before = time.monotonic() + self.seconds
        self.seconds *= 2

    def rewarded(self) -> None:
        """Note that the process was alone."""
        self.seconds = FIRST_DRAIN_SECONDS
