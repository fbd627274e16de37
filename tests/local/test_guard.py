"""A command under guard ends when it is asked to, and when the process that started it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from haulier.local.guard import Guarded
from tests.conftest import PATIENCE, eventually
from tests.local.conftest import ROOT, named

TERM = ((signal.SIGTERM, 5.0),)
FOREVER = "while :; do sleep 0.05; done"


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """Give an argument by which the test finds its processes again."""
    return f"marker-of-{request.node.name}-{uuid.uuid4().hex}"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Give the file that a script makes once it has come so far."""
    return tmp_path / "ready"


@pytest.fixture
def shell(marker: str) -> Callable[..., Guarded]:
    """Give a function that makes a guarded shell script."""
    return lambda script, **options: Guarded(["sh", "-c", script, marker], **{"stop_by": TERM, **options})


def test_release_stops_by_the_signal_that_was_asked_for_or_kills(shell, marker, ready):
    for trap, number, seconds, code in (("exit 7", "INT", 5.0, 7), ("", "TERM", 0.3, 137)):
        stop_by = ((signal.Signals[f"SIG{number}"], seconds),)
        command = shell(f"trap '{trap}' {number}; echo > {ready}; {FOREVER}", stop_by=stop_by)
        command.start()
        eventually(ready.exists)

        command.release()

        assert command.ended(PATIENCE) == code
        assert not named(marker)
        ready.unlink()


def test_what_the_command_leaves_behind_ends_with_it(shell, marker, ready):
    command = shell(f"sh -c '{FOREVER}' {marker} & echo > {ready}; exit 0")

    command.start()
    eventually(ready.exists)

    assert command.ended(PATIENCE) == 0
    assert not named(marker)
    command.release()


# Starts two commands and waits; each says when it stops, and the second takes its time.
OWNER = """
import signal, sys, threading
from haulier.local.guard import Guarded
folder, marker = sys.argv[1:]
def script(name, seconds):
    return ["sh", "-c", f"trap 'sleep {seconds}; echo {name} >> {folder}/stopped; exit' TERM;"
                        f" echo {name} >> {folder}/started; while :; do sleep 0.05; done", marker]
server = Guarded(script("server", 0), ((signal.SIGTERM, 10.0),))
client = Guarded(script("client", 0.5), ((signal.SIGTERM, 10.0),), needs=[server])
server.start()
client.start()
threading.Event().wait()
"""


def test_kill_9_of_the_owner_stops_every_command_and_what_is_needed_last(tmp_path, marker):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, tmp_path, marker], cwd=ROOT)
    eventually(lambda: (tmp_path / "started").exists() and len((tmp_path / "started").read_text().split()) == 2)

    owner.kill()
    owner.wait()

    eventually(lambda: not named(marker))
    assert (tmp_path / "stopped").read_text().split() == ["client", "server"]


# Starts a command with the marker that it reads, and forks a process that lives on; at the next line, releases it.
FORKING_OWNER = """
import os, signal, sys
from haulier.local.guard import Guarded
marker = sys.stdin.readline().strip()
command = Guarded(["sh", "-c", "while :; do sleep 0.05; done", marker], ((signal.SIGTERM, 5.0),))
command.start()
if (fork := os.fork()) == 0:
    signal.pause()
print(fork, flush=True)
sys.stdin.readline()
command.release()
print(command.ended(within=10.0), flush=True)
"""


@pytest.mark.parametrize("how", ["release", "kill"])
def test_a_fork_of_the_owner_does_not_keep_the_command_running(marker, how):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", FORKING_OWNER], cwd=ROOT, **pipes) as owner:
        owner.stdin.write(f"{marker}\n")
        fork = int(owner.stdout.readline())
        try:
            eventually(lambda: named(marker))
            if how == "release":
                owner.stdin.write("\n")
                assert owner.stdout.readline() == "143\n"
            else:
                owner.kill()
                owner.wait()

            eventually(lambda: not named(marker))
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child cannot ask to die with its parent")
def test_kill_9_of_the_guard_stops_the_command(shell, marker):
    command = shell(FOREVER)
    command.start()
    eventually(lambda: len(named(marker)) == 2)

    command.process.kill()

    assert command.ended(PATIENCE) == -signal.SIGKILL
    eventually(lambda: not named(marker))
    command.release()
