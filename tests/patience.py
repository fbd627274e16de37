"""Waiting for an event, with a deadline that holds on a machine whose processors other programs use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# How long a test waits for what usually comes at once: long, because other programs may use every processor. A shorter
# wait is for a promise alone. Units: seconds.
PATIENCE = 60.0


def eventually(predicate: Callable[[], T], within: float = PATIENCE) -> T:
    """Return the predicate's first true value; fail when there was none in that time. Units: seconds."""
    deadline = time.monotonic() + within
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"not within {within} s: {predicate}"
        threading.Event().wait(0.02)
    return value


def last_in_vain(predicate: Callable[[], object]) -> float:
    """Return when the predicate was asked in vain for the last time, before its first true value. Units: seconds.

    By when it was asked, not by when it answered: however slow this machine is, this is not later than the event.
    """
    began, last = time.monotonic(), 0.0

    def asked() -> object:
        nonlocal last
        asked_at = time.monotonic() - began
        if not (value := predicate()):
            last = asked_at
        return value

    eventually(asked)
    return last
