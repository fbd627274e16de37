"""The lanes of a worker, for its tests."""

from __future__ import annotations

import pytest

from haulier.worker.lanes.marks import Marks


@pytest.fixture
def lanes(clock) -> Marks:
    """Give the marks of a worker that knows no lane yet."""
    return Marks(clock=clock)
