"""tools/bootstrap.py makes .venv, or says in one line why it cannot."""

from __future__ import annotations

import ast
import importlib.util
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.local.conftest import ROOT

SOURCE = ROOT / "tools/bootstrap.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return checkout_in(tmp_path)


def checkout_in(folder: Path) -> Path:
    """Make a checkout that has bootstrap.py, pip, and requirements that ask for nothing."""
    shutil.copytree(ROOT / "tools", folder / "tools")
    (folder / "requirements-dev.txt").write_text("# nothing\n")
    (folder / "bin").mkdir()
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """Give such a checkout of which bootstrap.py has made the .venv, and what it said."""
    checkout = checkout_in(tmp_path_factory.mktemp("made"))
    return checkout, run(checkout, PYTHON=sys.executable)


@pytest.fixture
def copied(made: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> Path:
    """Give a copy of that checkout, with its .venv: to make another takes seconds."""
    return shutil.copytree(made[0], tmp_path / "copied", symlinks=True)


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(checkout: Path, **environ: str) -> subprocess.CompletedProcess:
    """Run bootstrap.py with only the checkout's bin on the PATH."""
    return subprocess.run(
        [sys.executable, checkout / "tools/bootstrap.py"],
        env={"PATH": str(checkout / "bin"), "DATABASE_URL": "postgres://", **environ},
        capture_output=True,
        text=True,
    )


def a_python(checkout: Path, name: str, *, version: str, has_venv: bool = True) -> Path:
    """Make a program that answers as that Python would, and that says so when it is to run bootstrap.py."""
    path = checkout / "bin" / name
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && echo "{version.replace(".", " ")} {int(has_venv)} $0" || echo "$0 went on"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_pip_that_is_not_the_one_whose_hash_was_written_down_installs_nothing(checkout):
    [wheel] = (checkout / "tools/vendor").glob("pip-*.whl")
    for spoil in (lambda: wheel.write_bytes(wheel.read_bytes() + b"x"), wheel.unlink):
        spoil()

        done = run(checkout, PYTHON=sys.executable)

        assert done.returncode == 1
        assert "is not the file that tools/bootstrap.py names" in done.stderr
        assert not (checkout / ".venv/haulier-stamp").exists()


def test_an_old_python_can_read_it():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 4))

    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal, ast.Match)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, newer)]


def test_a_machine_without_a_python_that_can_run_it_gets_one_line(checkout):
    for make, says in (
        (lambda: None, "needs Python 3.11 or newer, and finds none"),
        (lambda: a_python(checkout, "python3", version="3.9"), "needs Python 3.11 or newer, and finds python3 3.9"),
        (lambda: a_python(checkout, "python3", version="3.12", has_venv=False), "python3 lacks its venv module"),
    ):
        make()

        done = run(checkout)

        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert says in done.stderr


def test_it_makes_a_venv_with_its_own_pip_and_then_has_nothing_to_do(made):
    checkout, first = made
    second = run(checkout)

    assert first.returncode == 0, first.stderr
    assert subprocess.run([checkout / ".venv/bin/python", "-c", ""]).returncode == 0
    assert (second.returncode, second.stdout + second.stderr) == (0, "")


def test_a_failed_installation_is_not_taken_for_a_finished_one(copied):
    (copied / "requirements-dev.txt").write_text("no-hash==1\n")

    for _ in range(2):
        done = run(copied, PYTHON=sys.executable)

        assert done.returncode == 1
        assert done.stderr.endswith("haulier: cannot install requirements-dev.txt: see above\n")


def test_a_platform_without_a_postgres_asks_for_a_database_in_one_line(bootstrap, monkeypatch, capsys):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(SystemExit):
        bootstrap.check_platform()

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "riscv64: set DATABASE_URL" in said
    monkeypatch.setenv("DATABASE_URL", "postgres://")
    bootstrap.check_platform()


def test_every_requirement_is_pinned_and_hashed_and_names_no_index():
    pins = []
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()

        requirements = [line for line in text.splitlines() if line and line[0] not in "# "]
        assert requirements
        assert all("==" in line and line.endswith("\\") for line in requirements)
        assert "://" not in text
        assert not [line for line in requirements if line.startswith("-")]
        pins.append({line.rstrip(" \\") for line in requirements})
    # Production and development agree.
    assert pins[0] <= pins[1]
