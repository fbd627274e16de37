"""For tests of the commands that call the API, which run against a real gunicorn, in this process or another."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click
import pytest
from psycopg2.extensions import connection as Connection

from haulier.cli.root import root
from haulier.queue.numbers import depths
from tests.api.conftest import fail  # noqa: F401  # fixture
from tests.click_runner import Runner
from tests.conftest import eventually
from tests.kinds import kinds_tools
from tests.queue.upkeep.histories import begin, count_all
from tests.web import ROOT, Server, count_jobs, run_gunicorn, server, shared_server  # noqa: F401  # fixtures

SUMMARY = '{"text": "The ship came in. It was late. Nobody minded."}'
# The id of no job.
ABSENT = "01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71"
# Of this process, which may itself be run with them.
UNSET = ("DATABASE_URL", "HAULIER_API_KEY", "HAULIER_PROFILE", "NO_COLOR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Return what it has printed for programs: an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        """Return the one object that it has printed."""
        [line] = self.lines
        return line

    @property
    def rows(self) -> list[list[str]]:
        """Return the rows of the table that it has printed, without the head."""
        return [line.split() for line in self.out.splitlines()[1:]]


Run = Callable[..., Ended]


def not_refused(run: Run, expected: Mapping[tuple[str, ...], str], *, code: int = 2, start: str = "haulier: ") -> Any:
    """Run commands that have to be refused in one line, and return each that was not, with its end."""
    ended = {args: run(*args, input="") for args in expected}
    return {
        args: end
        for args, end in ended.items()
        if (end.code, end.out, end.err.count("\n")) != (code, "", 1)
        or not end.err.startswith(start)
        or expected[args] not in end.err
    }


def leaves(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give the home directory of the user who runs the command."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def run(server: Server, home: Path) -> Run:  # noqa: F811
    """Give a function that runs a command in this process, which is quick; it has no terminal."""

    def run(*args: str, input: str | None = None, **environ: str | None) -> Ended:
        given = {**dict.fromkeys(UNSET), "HOME": str(home), "HAULIER_URL": server.url, **environ}
        done = Runner(given).invoke(root, args, input=input, catch_exceptions=False)
        return Ended(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def start(server: Server, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:  # noqa: F811
    """Give a function that starts a command as a process, which is killed if it outlives the test."""
    all_started: list[subprocess.Popen[str]] = []

    def start(*args: str, **environ: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, "-m", "haulier", *args],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "HAULIER_URL": server.url, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_ctrl_c,
        )
        all_started.append(started)
        return started

    yield start
    for started in all_started:
        started.kill()
        started.wait()


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]]) -> Run:
    def process(*args: str, input: str = "", **environ: str) -> Ended:
        with start(*args, **environ) as started:
            out, err = started.communicate(input, timeout=60)
        return Ended(started.returncode, out, err)

    return process


@pytest.fixture
def counted(conn: Connection) -> Callable[[], None]:
    """Give a function that counts all jobs, as a worker does every 10 s."""
    counter = begin(conn)

    def counted() -> None:
        count_all(conn, counter)
        depths.count_live(conn)

    return counted


@pytest.fixture
def job(run: Run) -> str:
    return run("enqueue", "summarize_text", SUMMARY).out.strip()


# Headers of an answer that clients go by.
KEPT = ("Content-Type", "Next-Cursor", "Idempotent-Replayed")


def _answered(request: Request) -> Any:
    try:
        return urlopen(request)
    except HTTPError as refused:
        return refused


@contextmanager
def lossy(url: str, *, lost: int = 0, refused: int = 0) -> Iterator[str]:
    """Refuse the first requests, pass others on to a service, and break the connection instead of the first answers."""

    def answer(handler: BaseHTTPRequestHandler, request: kinds_tools.Request) -> None:
        if len(receiver.requests) <= refused:
            kinds_tools.reply(handler, 401, b'{"error": "unauthorized", "message": "no such key"}')
            return
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "connection")}
        sent = Request(url + request.path, request.body or None, headers, method=request.method)
        with _answered(sent) as answered:
            status, body = answered.status, answered.read()
            kept = {name.replace("-", "_"): value for name, value in answered.headers.items() if name in KEPT}
        if len(receiver.requests) > lost:
            kinds_tools.reply(handler, status, body, **kept)

    with kinds_tools.receiving(answer) as receiver:
        yield receiver.url


# In a terminal

ROWS, COLUMNS = 30, 100


def heed_ctrl_c() -> None:
    """Let SIGINT end this process, also if the tests run in the background: their children would ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _take_the_terminal() -> None:
    heed_ctrl_c()
    # Its own terminal's Ctrl-C is a signal to it.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command in a terminal. `said` is all that it has written."""

    def __init__(self, server: Server, home: Path, *args: str, **environ: str) -> None:  # noqa: F811
        self.ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        given = {"PATH": os.environ["PATH"], "HOME": str(home), "HAULIER_URL": server.url, "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "haulier", *args]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**given, **environ},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=_take_the_terminal,
        )
        self.before = termios.tcgetattr(its)
        # Open as long as we look at its settings.
        self._its = its
        self.said = ""

    def read(self) -> str:
        """Read what it has written since, and return all."""
        os.set_blocking(self.ours, False)
        with suppress(BlockingIOError, OSError):
            while piece := os.read(self.ours, 65536):
                self.said += piece.decode(errors="replace")
        return self.said

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self, code: int = 0) -> str:
        """See that it ends so and leaves the terminal as it was; return what it has written."""
        eventually(lambda: self.read() is None or self.process.poll() is not None)
        self.read()
        assert self.process.returncode == code, self.said
        assert termios.tcgetattr(self._its) == self.before
        os.close(self._its)
        os.close(self.ours)
        return self.said


def in_terminal(server: Server, home: Path, *args: str, **environ: str) -> str:  # noqa: F811
    """Return what a command writes to a terminal of 100 columns."""
    return Terminal(server, home, *args, **environ).end()
