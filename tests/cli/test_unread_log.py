"""A log that nobody reads, which holds up a write for good: whoever writes it ..."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from haulier.domain.job import JobStatus
from tests.conftest import eventually
from tests.local.conftest import Process, alive, descendants
from tests.web import answers

ROOT = Path(__file__).parents[2]
# The least that a pipe holds, and the most that a line of the log takes here.
PAGE, LINE = 4096, 300

pytestmark = [
    pytest.mark.direct("is about processes, and not about the way to the database"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can choose how much a pipe holds"),
]


@dataclass
class Unread:
    """A command whose stdout and stderr nobody reads until told to."""

    popen: subprocess.Popen[bytes]
    reader: int
    url: str
    log: bytes = b""

    def is_full(self) -> bool:
        """Tell whether its log has no room for a line."""
        return int.from_bytes(fcntl.ioctl(self.reader, FIONREAD, bytes(4)), sys.byteorder) > PAGE - LINE

    def children(self, text: str) -> list[Process]:
        """Return its children with this in their command line."""
        return [each for each in descendants(self.popen.pid) if each.parent == self.popen.pid and text in each.command]

    def read_on(self) -> None:
        """Read its log from now on."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while more := os.read(self.reader, 65536):
            self.log += more

    def is_replaced(self, text: str) -> None:
        """Kill its first child with this in its command line, and see that another takes its place."""
        before = self.children(text)
        os.kill(before[0].pid, signal.SIGKILL)
        eventually(lambda: len(self.children(text)) == len(before) and before[0] not in self.children(text), within=10)

    def stop(self) -> None:
        """Stop it, and see that it takes note and leaves nothing behind."""
        below = descendants(self.popen.pid)
        self.popen.terminate()
        assert self.popen.wait(30) == 0
        assert not alive(below)


FIONREAD = 0x541B


@pytest.fixture
def start(database: str, ledger: Any, free_port: int, tmp_path: Path) -> Iterator[Callable[..., Unread]]:
    """Give a function that starts a command."""
    started: list[Unread] = []

    def start(command: str, **settings: object) -> Unread:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "tests" / "worker"),
            "DATABASE_URL": database,
            "API_BIND_ADDR": f"127.0.0.1:{free_port}",
            "HAULIER_KINDS": "kinds_of_tests",
            "TEST_LEDGER": str(ledger.path),
            "WORKER_METRICS_PORT": "0",
            "LOG_LEVEL": "DEBUG",
            "TMPDIR": str(tmp_path),
            **{name: str(value) for name, value in settings.items()},
        }
        reader, end = os.pipe()
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PAGE)
        arguments = [sys.executable, "-m", "haulier", command]
        popen = subprocess.Popen(arguments, cwd=ROOT, env=environ, stdout=end, stderr=end, process_group=0)
        os.close(end)
        started.append(Unread(popen, reader, f"http://127.0.0.1:{free_port}"))
        return started[-1]

    yield start
    for each in started:
        left = descendants(each.popen.pid)
        if each.popen.poll() is None:
            each.popen.kill()
            each.popen.wait(5)
        eventually(lambda left=left: not alive(left), within=30)
        print(each.log.decode()[-8000:])


def test_works_on_replaces_and_stops_as_one_dyno(start, enqueue, finished):
    both = start("all")
    jobs = [enqueue("t.note") for _ in range(60)]
    assert {finished(job, within=30).status for job in jobs} == {JobStatus.SUCCEEDED}
    eventually(lambda: answers(both.url), within=20)
    eventually(both.is_full)

    for name in ("gunicorn", "worker"):
        both.is_replaced(name)

    assert finished(enqueue("t.note"), within=30).status == JobStatus.SUCCEEDED
    eventually(lambda: answers(both.url), within=20)
    both.stop()


def test_works_on_replaces_and_stops_as_several_worker_processes_and_says_what_was_lost(start, enqueue, finished):
    parent = start("worker", WORKER_PROCESSES=2)
    jobs = [enqueue("t.note") for _ in range(60)]
    assert {finished(job, within=30).status for job in jobs} == {JobStatus.SUCCEEDED}
    eventually(parent.is_full)

    parent.is_replaced("worker")

    parent.read_on()
    said = b"writes to this log were lost: the disk was full, or nobody read it"
    # By the one that has just started, at the latest: nothing of its start can be read.
    eventually(lambda: finished(enqueue("t.note"), within=30) and said in parent.log, within=30)
    parent.stop()


def test_answers_replaces_and_stops_as_the_api(start):
    api = start("web", WEB_CONCURRENCY=1)
    eventually(lambda: answers(api.url), within=20)
    eventually(lambda: answers(api.url) and api.is_full(), within=20)

    api.is_replaced("gunicorn")

    eventually(lambda: answers(api.url), within=20)
    api.stop()
