"""What tests of the package may ask for: its wheels, and an environment to install them into."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.installed.environments import ROOT, Environment, run

# Whatever imports one of these, or reads it, stops with this.
THEIRS = "raise SystemExit('this is not of Haulier')\n"
KINDS = """
import os
from haulier.kinds import JobContext, PayloadSchema, kind
from marshmallow import fields


class Greeting(PayloadSchema):
    name = fields.String(required=True)


@kind("greet", schema=Greeting, timeout=30)
def greet(context: JobContext, payload: dict) -> dict:
    return {"greeting": f"Hello, {payload['name']}!"}


@kind("greet_apart", schema=Greeting, timeout=30, isolated=True)
def greet_apart(context: JobContext, payload: dict) -> dict:
    return greet(context, payload)
"""


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that `make dist` fills."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, str(ROOT / "tools" / "dist.py"), str(folder)], folder, dict(os.environ))
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """Give the wheel."""
    [built] = dist.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Give an environment with what Haulier needs, and without it."""
    return Environment(tmp_path_factory.mktemp("installed"), with_ours=True)


@pytest.fixture
def installed(environment: Environment, wheel: Path) -> Path:
    """Give the command `haulier` of that environment with the wheel in it."""
    environment.install("--no-deps", "--force-reinstall", str(wheel))
    return Path(environment.haulier)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with kinds, and modules of the names that are at the top of ours."""
    (tmp_path / "app").mkdir()
    for name in ("app/__init__.py", "worker.py", "gunicorn.conf.py"):
        (tmp_path / name).write_text(THEIRS)
    (tmp_path / "our_kinds.py").write_text(KINDS)
    return tmp_path
