"""Whether the worker beside an API runs: `haulier all` writes it, the API's /health reads it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

from haulier.config import worker_state


def make() -> int:
    """Return the descriptor of a new file in memory, or of one without a name, that says: it does not run."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("haulier-worker-state")
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    write(file, runs=False)
    return file


def write(file: int, *, runs: bool) -> None:
    """Say whether it runs."""
    # On a system without files in memory the disk may be full.
    with suppress(OSError):
        os.pwrite(file, b"1" if runs else b"0", 0)


def runs() -> bool | None:
    """Return whether the worker beside this API runs; None if `haulier all` did not start it."""
    file = worker_state()
    return None if file is None else os.pread(file, 1, 0) == b"1"
