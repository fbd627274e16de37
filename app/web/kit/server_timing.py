"""The header Server-Timing: how long a request took, and how long it waited for the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import g


def begin() -> None:
    """Start the clock of the request."""
    g.began_at, g.database_seconds = time.perf_counter(), 0.0


@contextmanager
def of_database() -> Iterator[None]:
    """Add the duration of the block to the wait for the database."""
    at = time.perf_counter()
    try:
        yield
    finally:
        g.database_seconds += time.perf_counter() - at


def header() -> str:
    """Return the header."""
    spent = time.perf_counter() - g.began_at
    return f"db;dur={1000 * g.database_seconds:.1f}, page;dur={1000 * spent:.1f}"
