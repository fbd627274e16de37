"""What a process can ask the Linux kernel for; elsewhere these calls do nothing.

It imports little, because each child process of an isolated kind has a reaper that imports it.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

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
