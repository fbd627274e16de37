"""What tests of the lab may ask for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder for a server: not below pytest's own, since a socket's path must be short."""
    made = Path(tempfile.mkdtemp(prefix="haulier-chaos-"))
    # Under root Postgres runs as another account, which has to come through.
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)
