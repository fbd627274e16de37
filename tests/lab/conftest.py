"""What tests of the lab may ask for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bench.harness import Bench
from lab.servers import Postgres


@pytest.fixture(scope="module")
def bench_server(postgres: str) -> Iterator[Postgres]:
    """Give the tests' server, whose templates and filled databases are made once for all who ask for them."""
    server = Postgres(postgres)
    yield server
    server.forget_templates()


@pytest.fixture
def bench(bench_server: Postgres, tmp_path: Path) -> Bench:
    """Give it, and little to do."""
    return Bench(bench_server, tmp_path, scale=0.002)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder for a server: not below pytest's own, since a socket's path must be short."""
    made = Path(tempfile.mkdtemp(prefix="haulier-chaos-"))
    # Under root Postgres runs as another account, which has to come through.
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)
