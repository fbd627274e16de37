"""The benchmark of the dashboard, at a size that tells whether it measures. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bench.harness import Bench
from lab.bench.measures import dashboard
from lab.servers import Postgres
from tests.lab.test_bench import often


@pytest.fixture(scope="module")
def bench(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give little to do on the tests' server."""
    server = Postgres(postgres, None)
    folder: Path = tmp_path_factory.mktemp("bench")
    yield Bench(server, folder, scale=0.002)
    server.forget_templates()


@pytest.mark.parametrize("entry", often(dashboard.entries(), "ui.jobs.show", "poll-same", "post-tabs"))
def test_times_pages_polls_and_what_runs_beside_open_tabs(bench, entry):
    figures = entry.once(bench)

    assert all(0 < value < 1_000_000 for value in figures.values())
    assert figures
