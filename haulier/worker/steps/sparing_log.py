"""A log for warnings that many jobs can cause at once: each is logged once a minute, with the number left out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

QUIET_SECONDS = 60.0
# Subjects are kinds, whose names any client can make up: at most this many at a time, and all further ones share one.
MOST_SUBJECTS = 100


class SparingLog:
    """A log in which the same message about the same subject is a WARNING once a minute, and otherwise DEBUG.

    Units: seconds of `clock`.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        # For each subject: when it was last logged (longest ago first), and how many warnings were left out since.
        self._subjects: dict[tuple[str, str | None], tuple[float, int]] = {}

    def warning(self, message: str, *, about: str | None = None, extra: Mapping[str, object] | None = None) -> None:
        """Log the message, unless it was logged about this subject less than a minute ago."""
        left_out = self._admit(message, about)
        if left_out is None:
            self._log.debug("%s", message, extra=extra, stacklevel=2)
        elif left_out:
            self._log.warning(
                "%s (and %d more since this was last logged)", message, left_out, extra=extra, stacklevel=2
            )
        else:
            self._log.warning("%s", message, extra=extra, stacklevel=2)

    def _admit(self, message: str, about: str | None) -> int | None:
        """Return how many warnings were left out since the last line; None if this one is left out too."""
        with self._lock:
            now = self._clock()
            subject = self._subject(message, about, now)
            logged_at, left_out = self._subjects.get(subject, (float("-inf"), 0))
            if now - logged_at < QUIET_SECONDS:
                self._subjects[subject] = logged_at, left_out + 1
                return None
            # Move it to the end, so that the subject logged longest ago is always the first.
            self._subjects.pop(subject, None)
            self._subjects[subject] = now, 0
            return left_out

    def _subject(self, message: str, about: str | None, now: float) -> tuple[str, str | None]:
        subject = (message, about)
        if subject in self._subjects or len(self._subjects) < MOST_SUBJECTS:
            return subject
        # The next warning about an old subject is logged anyway; only its count is lost.
        while (first := next(iter(self._subjects), None)) and now - self._subjects[first][0] >= QUIET_SECONDS:
            del self._subjects[first]
        return subject if len(self._subjects) < MOST_SUBJECTS else (message, None)
