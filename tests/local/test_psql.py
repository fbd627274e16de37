"""`make psql` opens the database of `make run`, and says in one line what to do if it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from haulier.local import psql
from haulier.local.supervisor import NotStarted
from tests.local.conftest import UP


@pytest.fixture
def make_psql(haulier: object, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs psql in the checkout in which `haulier` starts its commands."""

    def run(statement: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "haulier.local", "psql"],
            cwd=tmp_path / "checkout",
            env={"PATH": os.environ["PATH"], **environ},
            input=statement,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(os.environ["PATH"], id="the machine's psql", marks=pytest.mark.slow),
        pytest.param("/nowhere", id="the embedded one"),
    ],
)
def test_opens_the_database_of_make_run(haulier, make_psql, free_port, path):
    haulier("run", PORT=str(free_port)).says(UP)

    done = make_psql("SELECT 'workers: ' || count(*) FROM haulier.worker", PATH=path)

    assert "workers: 1" in done.stdout, done.stderr


def test_opens_the_database_that_is_set(make_psql, database):
    done = make_psql("SELECT 'version ' || version FROM haulier.schema_version", DATABASE_URL=database)

    assert "version " in done.stdout, done.stderr


def test_says_what_to_do_if_nothing_runs(make_psql):
    done = make_psql("SELECT 1")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "haulier: `make run` runs no PostgreSQL here: start it in another terminal, or set DATABASE_URL\n"
    )


def test_says_what_to_do_without_psql(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("haulier.local.embedded.importlib.util.find_spec", lambda name: None)

    with pytest.raises(NotStarted, match="install PostgreSQL's client"):
        psql.client()
