"""Waiting for time itself, and how long things last in these tests, also on a machine that other programs use."""

from __future__ import annotations

import threading

LEASE = 3.0
# What happens at once happens within this. A stop that waits for a job takes SHUTDOWN_SECONDS, which are 25.
AT_ONCE = 10.0
# A platform kills this long after SHUTDOWN_SECONDS (docs/deploy.md).
GRANTED = 5.0


def let_pass(seconds: float) -> None:
    # Time itself is what is tested here.
    threading.Event().wait(seconds)
