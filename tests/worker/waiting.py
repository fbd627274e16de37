"""Waiting for time itself, and how long a lease lasts in these tests."""

from __future__ import annotations

import threading

LEASE = 3.0


def let_pass(seconds: float) -> None:
    # Time itself is what is tested here.
    threading.Event().wait(seconds)
