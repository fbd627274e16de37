"""Turns for work that only one job at a time may do, such as filling memory: among threads and child processes."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from haulier.kinds.sdk.context import JobContext

LOOK_SECONDS = 0.1

# The lock among the threads of this process, and the file whose lock the processes share.
_here = threading.Lock()
_file: int | None = None


def share(descriptor: int) -> None:
    """From now on take turns with every process that has this file; the kernel unlocks it for a process that dies."""
    global _file
    _file = descriptor


@contextmanager
def turn(context: JobContext) -> Iterator[None]:
    """Wait for the turn and have it until the block ends. Raises: JobCancelled."""
    while not _here.acquire(timeout=LOOK_SECONDS):
        context.raise_if_cancelled()
    try:
        if _file is None:
            yield
            return
        while not _lock(_file):
            context.wait(LOOK_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(_file, fcntl.LOCK_UN)
    finally:
        _here.release()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
