"""Haulier as a package, in a folder whose own modules are called `app` and `worker`: it ..."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest
import requests

import haulier
from tests.conftest import eventually
from tests.web import answers

ROOT = Path(__file__).parents[1]
# The lab too, which must not get in.
SOURCES = ("haulier", "app", "lab", "schema.sql", "grants.sql", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel, built of a copy, since setuptools writes beside what it builds."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    run([sys.executable, "-c", BUILD], copy, dict(os.environ))
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the command `haulier` of an environment with the wheel in it, and what it needs where this one has it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "of_these_tests.pth").write_text("\n".join(ours))
    [pip] = (ROOT / "tools" / "vendor").glob("pip-*.whl")
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run([*install, str(wheel)], folder, {**os.environ, "PYTHONPATH": str(pip)})
    return folder / "bin" / "haulier"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with kinds, and modules of the names that are at the top of ours."""
    (tmp_path / "app").mkdir()
    for name in ("app/__init__.py", "worker.py", "gunicorn.conf.py"):
        (tmp_path / name).write_text(THEIRS)
    (tmp_path / "our_kinds.py").write_text(KINDS)
    return tmp_path


def run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """Return what the command says, once it has ended well."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_has_every_file_of_the_checkout_and_nothing_else_at_its_top_level(wheel):
    described = f"haulier-{haulier.__version__}.dist-info/"
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(described)}

    expected = {
        str(Path(place, path.relative_to(ROOT / folder)))
        for folder, place in (("haulier", "haulier"), ("app", "haulier/app"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    needed = {"schema.sql", "grants.sql", "py.typed", "app/gunicorn_settings.py"}
    assert {f"haulier/{name}" for name in needed} <= expected
    assert names == expected


@contextmanager
def running(command: list[str], folder: Path, environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process, and see that it stops when it is told to."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        print(f"--- {log.name}\n{log.read_text()[-6000:]}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0


def web_environ(dsn: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the URL of an API that is given this environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": dsn,
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "WORKER_METRICS_PORT": "0",
        "TMPDIR": str(folder),
    }
    return f"http://127.0.0.1:{port}", environ


def outcomes(command: list[str], folder: Path, dsn: str, logs: Path, **environ: str) -> list[object]:
    """Return the results of a job of each of the project's kinds, from an empty database on."""
    url, given = web_environ(dsn, logs)
    environ = {**given, "HAULIER_KINDS": "our_kinds", **environ}
    assert run([*command, "migrate"], folder, environ).startswith("applied schema version ")
    with ExitStack() as stack, requests.Session() as session:
        session.trust_env = False
        web = stack.enter_context(running([*command, "web"], folder, environ, logs / "web.log"))
        worker = stack.enter_context(running([*command, "worker"], folder, environ, logs / "worker.log"))
        eventually(lambda: web.poll() is not None or answers(url), within=20)

        jobs = [
            session.post(f"{url}/jobs", json={"kind": kind, "payload": {"name": "Ann"}}, timeout=10).json()
            for kind in ("greet", "greet_apart")
        ]

        def results() -> list[object] | None:
            assert (web.poll(), worker.poll()) == (None, None)
            found = [session.get(f"{url}/jobs/{job['id']}", timeout=10).json() for job in jobs]
            return [job["result"] for job in found] if all(job["finished_at"] for job in found) else None

        return eventually(results, within=20)


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_runs_the_kinds_of_a_project_that_has_an_app_and_a_worker_of_its_own(
    installed, project, fresh_database, tmp_path_factory
):
    logs = tmp_path_factory.mktemp("logs")

    found = outcomes([str(installed)], project, fresh_database, logs)

    assert found == [{"greeting": "Hello, Ann!"}] * 2


@pytest.mark.direct("is about what is there to run, and not about the way to the database")
def test_has_the_same_commands_in_a_checkout(project, fresh_database, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    kinds = tmp_path_factory.mktemp("kinds")
    shutil.copy(project / "our_kinds.py", kinds)

    found = outcomes([sys.executable, "-m", "haulier"], ROOT, fresh_database, logs, PYTHONPATH=str(kinds))

    assert found == [{"greeting": "Hello, Ann!"}] * 2


@pytest.mark.direct("is about processes, and not about the way to the database")
def test_serves_on_while_gunicorn_is_replaced_by_another_at_sigusr2(database, tmp_path):
    url, environ = web_environ(database, tmp_path)
    pid = tmp_path / "pid"
    environ["GUNICORN_CMD_ARGS"] = f"--pid {pid}"

    with running([sys.executable, "-m", "haulier", "web"], ROOT, environ, tmp_path / "web.log") as first:
        eventually(lambda: answers(url), within=20)
        first.send_signal(signal.SIGUSR2)
        second = int(eventually(lambda: (new := Path(f"{pid}.2")).exists() and new.read_text(), within=20))
    try:
        # It takes the file's name once it has seen that the first is gone.
        eventually(lambda: pid.exists() and int(pid.read_text()) == second, within=20)
        served = answers(url)
    finally:
        os.kill(second, signal.SIGTERM)

    assert served
    eventually(lambda: not pid.exists() and not answers(url), within=20)
