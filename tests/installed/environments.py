"""Environments to install into, and commands that run in them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any

import requests

from tests.conftest import PATIENCE, eventually

ROOT = Path(__file__).parents[2]


def version_of(wheel: Path) -> str:
    """Return the version that a wheel has in its name."""
    return wheel.name.split("-")[1]


class Environment:
    """A virtual environment. `with_ours` has what is installed where these tests run, Haulier aside."""

    def __init__(self, folder: Path, pip: Path, *, with_ours: bool) -> None:
        venv.create(folder, with_pip=False)
        self.pip = pip
        self.python, self.haulier = str(folder / "bin" / "python"), str(folder / "bin" / "haulier")
        if with_ours:
            packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
            ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
            (packages / "of_these_tests.pth").write_text("\n".join(ours))
        self.folder = folder

    def add(self, *names: str) -> None:
        """Copy these packages, and what they need, from where these tests run: an index would have to be reached."""
        base = str(self.folder)
        packages = Path(sysconfig.get_path("purelib", vars={"base": base, "platbase": base}))
        for name in needed_by(names):
            for file in distribution(name).files or ():
                # Not the commands, which are outside.
                if ".." not in file.parts:
                    (packages / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file.locate(), packages / file)

    def add_pip(self) -> None:
        """Have the command `pip` in it, as in one that is made by hand."""
        pip = Path(self.python).with_name("pip")
        pip.write_text(
            f'#!/bin/sh\nPYTHONPATH="{self.pip}" exec "{self.python}"'
            ' -m pip --no-cache-dir --disable-pip-version-check "$@"\n'
        )
        pip.chmod(0o755)

    def install(self, *what: str, folder: Path | None = None) -> str:
        """Install without an index, in this folder if there are relative paths, and return what pip says."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", *what]
        environ, place = {**os.environ, "PYTHONPATH": str(self.pip)}, folder or self.folder
        done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr


def needed_by(names: Iterable[str]) -> set[str]:
    """Return the packages of these names and all that they need, without their extras."""
    found: set[str] = set()
    left = list(names)
    while left:
        if (name := left.pop().lower()) not in found:
            found.add(name)
            left += [re.match(r"[\w.-]+", each)[0] for each in requires(name) or () if "extra ==" not in each]
    return found


def take_in(folder: Path, wheel: Path) -> None:
    """Put another build of Haulier into vendor/ and the requirements, as docs/own-repository.md says."""
    for old in (folder / "vendor").glob("haulier-*"):
        old.unlink()
    shutil.copy(wheel, folder / "vendor")
    path = folder / "requirements.txt"
    path.write_text(re.sub(r".*haulier.*", f"./vendor/{wheel.name}[server]", path.read_text()))


def run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """Return what the command says, once it has ended well."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(
    command: list[str], folder: Path, environ: dict[str, str], log: Path, *, leaves_with: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process, and see that it stops when it is asked to, with this exit code."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        print(f"--- {log.name}\n{log.read_text()[-6000:]}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
    assert code == leaves_with


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


class Client:
    """A program that enqueues over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        # A .netrc of this machine does not matter.
        self.session.trust_env = False

    def get(self, path: str) -> Any:
        return self.session.get(f"{self.url}{path}", timeout=10).json()

    def enqueue(self, kind: str, *, name: str, **more: object) -> str:
        """Return the id of a job that greets this person."""
        body = {"kind": kind, "payload": {"name": name}, **more}
        return str(self.session.post(f"{self.url}/jobs", json=body, timeout=10).json()["id"])

    def results(self, job_ids: list[str]) -> list[object]:
        """Return the results of these jobs, once all have ended."""
        eventually(lambda: all(self.get(f"/jobs/{each}")["finished_at"] for each in job_ids))
        return [self.get(f"/jobs/{each}")["result"] for each in job_ids]
