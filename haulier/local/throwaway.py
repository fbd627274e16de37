"""A PostgreSQL for tests, whose data nobody keeps."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haulier.local.embedded import running
from haulier.postgres.scratch import scratch_database


@contextmanager
def throwaway_server() -> Iterator[str]:
    """Give the DSN of a server: that of DATABASE_URL, or else an embedded one, which vanishes on leaving.

    Raises: PostgresNotStarted.
    """
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    # Not below a folder of the test's own: a socket's path must be short.
    base = Path(tempfile.mkdtemp(prefix="haulier-test-"))
    try:
        with running(base, test=True) as dsn:
            yield dsn
    finally:
        shutil.rmtree(base)


@contextmanager
def throwaway_database(server: str | None = None) -> Iterator[str]:
    """Give the DSN of an empty database of one's own, on this server or a throwaway one; it is dropped on leaving.

    The database that DATABASE_URL names is never opened. Raises: PostgresNotStarted, ScratchRefused.
    """
    if server is None:
        with throwaway_server() as server, throwaway_database(server) as dsn:
            yield dsn
        return
    with scratch_database(server, f"haulier_test_{uuid.uuid4().hex[:12]}") as dsn:
        yield dsn
