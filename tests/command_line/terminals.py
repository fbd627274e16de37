"""Commands that run in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

from tests.conftest import eventually
from tests.web import ROOT, Server

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

    def __init__(self, server: Server, home: Path, *args: str, **environ: str) -> None:
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
        """Press keys."""
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


def in_terminal(server: Server, home: Path, *args: str, **environ: str) -> str:
    """Return what a command writes to a terminal of 100 columns."""
    return Terminal(server, home, *args, **environ).end()
