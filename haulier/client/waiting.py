"""Waits for the end of a job, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

# The first pause, the longest, and how they grow.
SOON, LATER, GROWTH = 0.1, 2.0, 1.5


def look_until_ended(look: Callable[[], Any], seconds: float) -> Any:
    """Return the job when it has ended, or as it is after this long."""
    until, pause, woken = time.monotonic() + seconds, SOON, Event()
    while True:
        job = look()
        left = until - time.monotonic()
        if job["finished_at"] is not None or left <= 0:
            return job
        woken.wait(min(pause, left))
        pause = min(pause * GROWTH, LATER)
