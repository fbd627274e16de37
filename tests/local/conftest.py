"""Processes as the system sees them, a folder that a Postgres of root's can reach, and a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from haulier.local.embedded import home, running
from lab.descendants import PROC
from tests.conftest import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
# What running Haulier needs of a checkout.
NEEDED = ("haulier", "app")
# Where each command keeps its data.
DATA = {"run": "pg", "demo": "demo-pg"}
# The last line of `make run` and `make demo` once all of it runs.
UP = "Ctrl-C stops everything"


class Process(NamedTuple):
    """A process of the system."""

    pid: int
    parent: int
    command: str


def processes() -> list[Process]:
    """Return every process that runs, zombies left out."""
    return [process for process, state in states() if state != "Z"]


def states() -> list[tuple[Process, str]]:
    """Return every process, and its state as `ps` writes it; a zombie has no command."""
    if PROC:
        # Tests look again and again while they wait: to start a `ps` for it took most of a processor.
        return [found for pid in os.listdir("/proc") if pid.isdigit() and (found := _state(pid))]
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [(*line.split(maxsplit=3), "")[:4] for line in listed.stdout.splitlines()]
    return [(Process(int(pid), int(parent), command), state[0]) for pid, parent, state, command in rows]


def _state(pid: str) -> tuple[Process, str] | None:
    with suppress(OSError):
        stat = Path("/proc", pid, "stat").read_text()
        state, parent, *_ = stat.rpartition(")")[2].split()
        command = Path("/proc", pid, "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        return Process(int(pid), int(parent), command), state
    return None


def named(text: str) -> list[Process]:
    """Return the processes that have this in their command line."""
    return [process for process in processes() if text in process.command]


def descendants(pid: int) -> list[Process]:
    """Return the children of the process, their children, and so on."""
    everything, found, parents = processes(), [], {pid}
    while below := [each for each in everything if each.parent in parents and each not in found]:
        found += below
        parents = {each.pid for each in below}
    return found


def alive(remembered: list[Process]) -> list[Process]:
    """Return the processes that still run."""
    now = {(process.pid, process.command) for process in processes()}
    return [process for process in remembered if (process.pid, process.command) in now]


def end(popen: subprocess.Popen[bytes]) -> None:
    """Kill the process, if it still runs, and wait until its descendants have ended too."""
    left = descendants(popen.pid)
    if popen.poll() is None:
        popen.kill()
        popen.wait(PATIENCE)
    eventually(lambda: not alive(left))


@pytest.fixture
def base() -> Iterator[Path]:
    """Give a folder with a short path, outside pytest's own, which root's Postgres could not reach."""
    folder = Path(tempfile.mkdtemp(prefix="haulier-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fill() -> Iterator[Callable[[Path], None]]:
    """Give a function that fills a server's folder as its first start would: initdb takes three times as long."""
    template = Path(tempfile.mkdtemp(prefix="haulier-test-"))
    with running(template, test=True):
        pass

    def fill(base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        # It keeps the owner, which is another account if root runs the tests.
        subprocess.run(["cp", "-a", template / "data", base / "data"], check=True)

    yield fill
    shutil.rmtree(template)


@pytest.fixture
def filled(base: Path, fill: Callable[[Path], None]) -> Path:
    """Give a folder in which a server has been before."""
    fill(base)
    return base


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Haulier:
    """`python -m haulier.local run` or `… demo`, in a checkout of its own."""

    def __init__(self, checkout: Path, command: str, environ: dict[str, str]) -> None:
        self.output_file = checkout / f"{command}-{len(list(checkout.iterdir()))}.out"
        with open(self.output_file, "w") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "haulier.local", command],
                cwd=checkout,
                env={"PATH": os.environ["PATH"], "WORKER_METRICS_PORT": "0", **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Return what it has said so far."""
        return self.output_file.read_text()

    def says(self, text: str) -> None:
        eventually(lambda: text in self.output or self._fail_if_ended(text))

    def wait(self, seconds: float = PATIENCE) -> int:
        return self.popen.wait(seconds)

    def _fail_if_ended(self, text: str) -> None:
        assert self.popen.poll() is None or text in self.output, f"ended without saying {text!r}:\n{self.output}"


@pytest.fixture
def haulier(tmp_path: Path, fill: Callable[[Path], None]) -> Iterator[Callable[..., Haulier]]:
    """Give a function that starts a command of haulier.local in a copy of the checkout; they end with the test."""
    with commands_in(tmp_path / "checkout", fill) as start:
        yield start


@contextmanager
def commands_in(checkout: Path, fill: Callable[[Path], None]) -> Iterator[Callable[..., Haulier]]:
    """Give such a function for a copy of the checkout that is made in this folder."""
    checkout.mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    started: list[Haulier] = []

    def start(command: str, **environ: str) -> Haulier:
        if command in DATA and "DATABASE_URL" not in environ and not (base := home(checkout) / DATA[command]).exists():
            fill(base)
        started.append(Haulier(checkout, command, environ))
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            each.popen.send_signal(signal.SIGTERM)
            each.popen.wait(PATIENCE)
        shutil.rmtree(home(checkout), ignore_errors=True)  # beside the checkout, if root ran it
