"""`python -m lab.bench.without MECHANISM`: the worker as `python worker.py` starts it, without one mechanism."""

from __future__ import annotations

import sys
from collections.abc import Callable

from haulier.queue.consume.prepared import prepared
from haulier.worker import start
from haulier.worker.shared import sleeper
from haulier.worker.shared.claim_size import ClaimSize


def claim_ahead() -> None:
    """Claim only as many jobs as there are free threads."""
    ClaimSize.ahead = lambda self: 0  # type: ignore[method-assign]  # a worker without it is what is wanted


def prepared_statements() -> None:
    """Send each claim and settle unprepared, so that the server parses and plans it each time."""
    prepared.are_kept = False


def restlessness() -> None:
    """Sleep, and be woken, however many notifications come."""
    sleeper.RESTLESS_SECONDS = 0.0


def two_heaps() -> None:
    """Let each thread have a heap of its own, as is glibc's default."""
    start._spare_memory = lambda: None


MECHANISMS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (claim_ahead, prepared_statements, restlessness, two_heaps)
}

if __name__ == "__main__":
    MECHANISMS[sys.argv[1]]()
    start.work_and_leave()
