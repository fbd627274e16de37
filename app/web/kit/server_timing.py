"""How long a request has taken, and how much of that it has waited for the database: for the header Server-Timing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import g


def begin() -> None:
    """Begin to count."""
    g.began_at, g.database_seconds = time.perf_counter(), 0.0


@contextmanager
def of_database() -> Iterator[None]:
    """Count the block as a wait for the database."""
    at = time.perf_counter()
    try:
        yield
    finally:
        g.database_seconds += time.perf_counter() - at


def header() -> str:
    """Return the header."""
    spent = time.perf_counter() - g.began_at
    return f"db;dur={1000 * g.database_seconds:.1f}, page;dur={1000 * spent:.1f}"
