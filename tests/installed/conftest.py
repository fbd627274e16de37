"""What tests of the package may ask for: its wheels, and an environment to install them into."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.installed.environments import ROOT, Environment, run
from tests.repositories import Repository
from tests.web import server, shared_server  # noqa: F401  # fixtures

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
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, str(ROOT / "tools" / "dist.py"), str(folder)], folder, dict(os.environ))
    return folder


# What `make dist` needs of a checkout.
BUILT_FROM = (
    *("haulier", "app", "schema.sql", "grants.sql", "tools/dist.py"),
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"),
)
# What the second commit of `two_wheels` changes.
CHANGED = ("haulier/__init__.py", '\nCHANGE = "of the second commit"\n')


@pytest.fixture(scope="session")
def two_wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give what `make dist` builds of two commits, of which the second follows the first.

    They are commits of a repository that is made here, because the tests also run if there is none.
    """
    folder = tmp_path_factory.mktemp("commits") / "haulier"
    for name in BUILT_FROM:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    repository = Repository(folder)

    def build() -> Path:
        repository.commit()
        run([sys.executable, "tools/dist.py"], folder, dict(os.environ))
        # The build of the commit before makes way.
        [built] = (folder / "dist").glob("*.whl")
        return Path(shutil.copy(built, tmp_path_factory.mktemp("build")))

    first = build()
    with (folder / CHANGED[0]).open("a") as file:
        file.write(CHANGED[1])
    return first, build()


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    [built] = dist.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the repository's pip: out of its wheel, Python would compile it anew at each run."""
    folder = tmp_path_factory.mktemp("pip")
    [wheel] = (ROOT / "tools" / "vendor").glob("pip-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, pip: Path, wheel: Path) -> Environment:
    """Give an environment with what Haulier needs, and the wheel in it."""
    made = Environment(tmp_path_factory.mktemp("installed"), pip, with_ours=True)
    made.install("--no-deps", str(wheel))
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with kinds, and modules of the names that are at the top of ours."""
    (tmp_path / "app").mkdir()
    for name in ("app/__init__.py", "worker.py", "gunicorn.conf.py"):
        (tmp_path / name).write_text(THEIRS)
    (tmp_path / "our_kinds.py").write_text(KINDS)
    return tmp_path
