"""The pair of servers, and real workers from the worker's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.pair import Pair, pair_in
from tests.worker.conftest import ledger, spawn_worker  # noqa: F401


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give a primary and its synchronous standby."""
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-pair-"))
    folder.chmod(0o755)
    try:
        with pair_in(folder) as pair:
            yield pair
    finally:
        shutil.rmtree(folder)
