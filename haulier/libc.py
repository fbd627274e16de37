"""Calls of the C library: how it uses its heaps, and what Linux does with children; elsewhere these do nothing.

This imports little, because each child process of an isolated kind has a reaper that imports it.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 1024 * 1024


def share_heaps() -> None:
    """Have all threads share two heaps; a heap for each would keep room for the largest batch it ever read."""
    _mallopt(M_ARENA_MAX, 2)


def give_back_large_blocks() -> None:
    """Return blocks of 1 MiB to the system when they are freed, and the ends of the heaps too.

    By default glibc raises both limits as far as the largest block that was ever freed: after wrong batches of 16 MB
    from three senders, each web process kept 270 MB.
    """
    for limit in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        _mallopt(limit, LARGE_BYTES)


def _mallopt(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(option, value)


# Of linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def end_with_parent(number: int) -> None:
    """Have the kernel send this process the signal when its parent dies; this outlasts an exec."""
    _prctl(PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, in place of process 1 of the container."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, value)
