"""A parent of processes that the system does not let it start: it ..."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is about Linux's limit of processes")

ROOT = Path(__file__).parents[1]
# Root is not limited. Everything is imported before, since others may be unable to read it.
BEGIN = """
import logging, os, resource, socket
from haulier import logs, processes
from haulier.cli.one_dyno import OneDyno
from haulier.config import Config

most = resource.getrlimit(resource.RLIMIT_NPROC)[1]

def refuse(all_of_them):
    resource.setrlimit(resource.RLIMIT_NPROC, (0 if all_of_them else most, most))

logs.setup("text", "INFO")
door = socket.create_server(("127.0.0.1", 0))
config = Config.from_env()
processes.FIRST_PAUSE_SECONDS = 0.01
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
refuse(True)
"""
ONE_DYNO = "processes.leave(OneDyno(config, door).run())"
# After three refusals it is let, and then refused again; the second process to be started is its last.
LET_NOW_AND_THEN = """
class Letting(logging.Handler):
    refused = started = 0

    def emit(self, record):
        if "cannot start" in record.msg:
            self.refused += 1
            refuse(self.refused % 3 != 0)
        if "started" in record.msg:
            self.started += 1
            refuse(True)

class Short(processes.Processes):
    def work(self, place):
        processes.leave(0)

    def lose(self, child, code):
        if letting.started == 2:
            self.stop()
        else:
            self.replace(child, code)

letting = Letting()
logging.getLogger().addHandler(letting)
processes.leave(Short(["short"], 5).run())
"""


def run(program: str) -> tuple[int, str]:
    """Return the exit code of a program that may start no process, and its log."""
    environ = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgres://nobody@localhost/nothing",
        # Longer than the timeout: who has no process left does not wait for one to stop.
        "SHUTDOWN_SECONDS": "300",
    }
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_tries_again_a_few_times_and_leaves_with_1():
    code, log = run(ONE_DYNO)

    assert code == 1, log
    assert log.count("cannot start web, trying again in 0 s: [Errno 11] Resource temporarily unavailable") == 4
    assert "cannot start web, 5 times in a row: exiting with code 1: [Errno 11]" in log
    assert "started" not in log


def test_goes_on_if_the_system_lets_it_in_between():
    code, log = run(LET_NOW_AND_THEN)

    assert code == 0, log
    assert log.count("cannot start short, trying again") == 6
    assert log.count("started short") == 2
