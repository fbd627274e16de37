"""Commands of `haulier` whose log is not read until the test asks for it, while it looks at their processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE, eventually
from tests.local.conftest import Process, alive, descendants, end

ROOT = Path(__file__).parents[2]
# The least that a pipe holds, and the most that a line of the log takes here.
PAGE, LINE = 4096, 300
# Of linux/ioctls.h: how much there is to be read.
FIONREAD = 0x541B


@dataclass
class Started:
    """A command whose stdout and stderr are not read before `read_on`."""

    popen: subprocess.Popen[bytes]
    reader: int
    url: str
    log: bytes = b""

    def is_full(self) -> bool:
        """Return whether its log has no room for a line."""
        return int.from_bytes(fcntl.ioctl(self.reader, FIONREAD, bytes(4)), sys.byteorder) > PAGE - LINE

    def children(self, text: str) -> list[Process]:
        """Return its children with this in their command line."""
        return [each for each in descendants(self.popen.pid) if each.parent == self.popen.pid and text in each.command]

    def has_started(self, child: Process) -> bool:
        """Return whether it started this child itself; it adopts the orphans of one that was killed."""
        with suppress(ProcessLookupError):
            return os.getpgid(child.pid) in (child.pid, self.popen.pid)
        return False

    def read_on(self) -> None:
        """Read its log from now on."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while more := os.read(self.reader, 65536):
            self.log += more

    def is_replaced(self, text: str) -> None:
        """Kill its first child with this in its command line, and see that another takes its place."""
        before = self.children(text)
        victim = before[0]
        os.kill(victim.pid, signal.SIGKILL)

        def is_as_before() -> bool:
            now = self.children(text)
            return len(now) == len(before) and victim not in now and all(map(self.has_started, now))

        eventually(is_as_before)

    def stop(self) -> None:
        """Stop it, and see that it takes note and leaves nothing behind."""
        below = descendants(self.popen.pid)
        self.popen.terminate()
        assert self.popen.wait(PATIENCE) == 0
        assert not alive(below)


def environ_of(database: str, ledger: Any, port: int, folder: Path, **settings: object) -> dict[str, str]:
    """Give the environment of a command that serves at the port and has the worker's tests' kinds, but for settings."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "tests" / "worker"),
        "DATABASE_URL": database,
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "HAULIER_KINDS": "kinds_of_tests",
        "TEST_LEDGER": str(ledger.path),
        "WORKER_METRICS_PORT": "0",
        "TMPDIR": str(folder),
        **{name: str(value) for name, value in settings.items()},
    }


@pytest.fixture
def run_command(database: str, ledger: Any, free_port: int, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Give a function that starts a command of `haulier`; nothing is left behind."""
    started: list[Started] = []

    def run(command: str, **settings: object) -> Started:
        environ = environ_of(database, ledger, free_port, tmp_path, **{"LOG_LEVEL": "DEBUG", **settings})
        reader, end = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PAGE)
        arguments = [sys.executable, "-m", "haulier", command]
        popen = subprocess.Popen(arguments, cwd=ROOT, env=environ, stdout=end, stderr=end, process_group=0)
        os.close(end)
        started.append(Started(popen, reader, f"http://127.0.0.1:{free_port}"))
        return started[-1]

    yield run
    for each in started:
        end(each.popen)
        print(each.log.decode()[-8000:])
