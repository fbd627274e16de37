"""`haulier all`, the API and a worker under one supervisor: it ..."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import requests
from psycopg2.extensions import parse_dsn

from haulier.domain.job import JobStatus
from haulier.queue import search
from haulier.version import version
from tests.cli.started import ROOT, environ_of
from tests.conftest import PATIENCE, eventually
from tests.local.conftest import Process, alive, descendants, end, states
from tests.web import answers
from tests.worker.waiting import GRANTED

pytestmark = pytest.mark.direct("is about processes, and not about the way to the database")


@dataclass
class OneDyno:
    """A running `haulier all`. `log` is the file of its stdout and stderr."""

    popen: subprocess.Popen[bytes]
    url: str
    log: Path

    def part(self, name: str) -> Process | None:
        """Return its child of this name, or the process in which gunicorn serves; None while there is none."""
        below = descendants(self.popen.pid)
        children = [each for each in below if each.parent == self.popen.pid]
        if name == "serving":
            web = {each.pid for each in children if "gunicorn" in each.command}
            found = [each for each in below if each.parent in web]
        else:
            found = [each for each in children if {"web": "gunicorn", "worker": "haulier worker"}[name] in each.command]
        return found[0] if found else None

    def kill(self, name: str) -> float:
        """Kill it, and return how long it took until another is there and all works. Units: seconds."""
        victim, began = self.part(name), time.monotonic()
        assert victim is not None
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: self.part(name) not in (None, victim) and self.has_started())
        return time.monotonic() - began

    def health(self) -> Any:
        return requests.get(f"{self.url}/health", timeout=10).json()

    def has_started(self) -> bool:
        """Return whether both work; fail if it has ended."""
        assert self.popen.poll() is None, self.log.read_text()
        return answers(self.url) and self.health() == {"status": "ok", "version": version()}

    def wait(self, seconds: float = PATIENCE) -> int:
        return self.popen.wait(seconds)


@pytest.fixture
def start(database: str, ledger: Any, free_port: int, tmp_path: Path) -> Iterator[Callable[..., OneDyno]]:
    """Give a function that starts it with these settings, and waits until both work; nothing is left behind."""
    started: list[OneDyno] = []

    def start(*, wait: bool = True, out: IO[bytes] | int | None = None, **settings: object) -> OneDyno:
        environ = environ_of(database, ledger, free_port, tmp_path, **{"LEASE_SECONDS": 3, **settings})
        log = tmp_path / f"all-{len(started)}.log"
        with log.open("wb") as file:
            out = file if out is None else out
            command = [sys.executable, "-m", "haulier", "all"]
            popen = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out, process_group=0)
        started.append(OneDyno(popen, f"http://127.0.0.1:{free_port}", log))
        if wait:
            eventually(started[-1].has_started)
        return started[-1]

    yield start
    for each in started:
        end(each.popen)
        print(f"--- {each.log.name}\n{each.log.read_text()[-8000:]}")


def zombies(pid: int) -> list[str]:
    """Return the children of a process that have ended and that it has not waited for."""
    return [str(process.pid) for process, state in states() if process.parent == pid and state == "Z"]


@pytest.mark.parametrize(
    "names", [pytest.param(("serving", "worker"), id="parts"), pytest.param(("web",), id="web", marks=pytest.mark.slow)]
)
def test_replaces_a_killed_process_within_seconds_and_loses_no_job(start, enqueue, finished, ledger, names):
    both = start()
    for name in names:
        # Jobs of a process that has died run again one by one.
        jobs = [enqueue("t.note", {"seconds": 0.5}) for _ in range(3)]
        eventually(lambda jobs=jobs: any(ledger.entries("start", job) for job in jobs))

        print(f"{name} was replaced after {both.kill(name):.1f} s")

        jobs.append(enqueue("t.note"))
        assert {finished(job).status for job in jobs} == {JobStatus.SUCCEEDED}
        eventually(lambda: not zombies(both.popen.pid))
        assert len(descendants(both.popen.pid)) == 3


def test_answers_while_the_api_is_replaced_and_warns_of_a_missing_worker(start):
    both = start()
    os.kill(both.part("web").pid, signal.SIGKILL)
    # Raises if the connection is refused.
    assert both.health()["status"] == "ok"
    worker = both.part("worker")

    os.kill(worker.pid, signal.SIGSTOP)
    silent = eventually(lambda: both.health().get("warnings"))
    os.kill(worker.pid, signal.SIGKILL)
    # After ten seconds it is replaced at once, and its successor, which is younger, after a pause.
    successor = eventually(lambda: (found := both.part("worker")) and found.pid != worker.pid and found)
    os.kill(successor.pid, signal.SIGKILL)
    gone = eventually(lambda: (found := both.health().get("warnings")) != silent and found)

    assert silent == ["the worker of `haulier all` sends no heartbeat: see its log"]
    assert gone == ["the worker of `haulier all` is not running: it is being restarted"]
    eventually(both.has_started)


def test_stops_taking_requests_and_lets_the_worker_finish(start, enqueue, finished, ledger, tmp_path):
    both = start()
    below = descendants(both.popen.pid)
    # As many as there are threads.
    running = [enqueue("t.deaf", {"file": str(tmp_path / "go")}) for _ in range(8)]
    eventually(lambda: len(ledger.entries("start")) == 8)
    waiting = enqueue("t.note")

    both.popen.terminate()

    eventually(lambda: is_refused(both.url))
    eventually(lambda: "stopping: 8 jobs are running" in both.log.read_text())
    assert both.popen.poll() is None
    (tmp_path / "go").touch()
    assert both.wait() == 0
    assert [(finished(job).status, finished(job).attempts) for job in running] == [(JobStatus.SUCCEEDED, 1)] * 8
    assert ledger.entries("start", waiting) == []
    assert not alive(below)


def is_refused(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_gives_back_in_time_what_does_not_finish(start, enqueue, conn, ledger, tmp_path):
    both = start(SHUTDOWN_SECONDS=2)
    job = enqueue("t.deaf", {"file": str(tmp_path / "never")})
    eventually(lambda: ledger.entries("start", job))

    began = time.monotonic()
    # As Heroku does, to every process of a dyno, and more than once.
    for each in [*descendants(both.popen.pid), Process(both.popen.pid, 0, ""), Process(both.popen.pid, 0, "")]:
        os.kill(each.pid, signal.SIGTERM)

    assert both.wait() == 0
    assert time.monotonic() - began < 2 + GRANTED
    job = search.get(conn, job.id)
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told of a parent's death")
def test_leaves_nothing_behind_when_it_is_killed(start, enqueue, finished, ledger):
    both = start()
    below = descendants(both.popen.pid)
    jobs = [enqueue("t.note", {"seconds": 1}) for _ in range(5)]
    eventually(lambda: len(ledger.entries("start")) == 5)

    both.popen.kill()

    eventually(lambda: not alive(below))
    assert [(finished(job).status, finished(job).attempts) for job in jobs] == [(JobStatus.SUCCEEDED, 1)] * 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are the first process's to wait for")
def test_leaves_nothing_of_a_killed_api_behind(start, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    both = start(PYTHONPATH=tmp_path, HAULIER_KINDS="slow")
    web, serving = both.part("web"), both.part("serving")
    body = {"kind": "slow", "payload": {"name": "Ann"}}
    with suppress(requests.ReadTimeout):
        requests.post(f"{both.url}/jobs", json=body, timeout=0.5)
    os.kill(web.pid, signal.SIGKILL)
    eventually(lambda: both.part("web") not in (None, web) and both.has_started())
    # It lets its request finish.
    assert alive([serving])

    both.popen.terminate()

    assert both.wait() == 0
    assert not alive([serving])


@pytest.fixture
def unwritable() -> Iterator[int]:
    """Give a file that takes nothing."""
    reader, file = os.pipe()
    os.close(reader)
    yield file
    os.close(file)


def test_works_on_if_its_log_cannot_be_written(start, unwritable, enqueue, finished):
    both = start(out=unwritable)
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    for name in ("web", "worker"):
        both.kill(name)
    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    below = descendants(both.popen.pid)

    both.popen.terminate()

    assert both.wait() == 0
    assert not alive(below)


SLOW = """
import threading
from marshmallow import fields
from haulier.kinds import PayloadSchema, kind

def wait(value):
    threading.Event().wait(60)

class Slow(PayloadSchema):
    name = fields.String(validate=wait)

@kind("slow", schema=Slow, timeout=1)
def slow(context, payload):
    pass
"""
DYING = """
import os, sys
if {name!r} in " ".join(sys.argv):
    os._exit(7)
"""

# Read by every Python at its start: the parent waits for less than a second before it starts a process again.
AT_ONCE_AGAIN = """
from haulier import processes

processes.FIRST_PAUSE_SECONDS = 0.05
"""


@pytest.mark.parametrize(
    ("name", "program"), [pytest.param("web", "gunicorn", marks=pytest.mark.slow), ("worker", "worker")]
)
def test_ends_with_1_if_a_process_keeps_dying_at_its_start(start, tmp_path, name, program):
    (tmp_path / "dying.py").write_text(DYING.format(name=program))
    (tmp_path / "sitecustomize.py").write_text(AT_ONCE_AGAIN)
    both = start(PYTHONPATH=f"{tmp_path}:{ROOT}", HAULIER_KINDS="dying", wait=False)
    eventually(lambda: len(descendants(both.popen.pid)) >= 2)

    assert both.wait() == 1

    log = both.log.read_text()
    assert log.count(f"started {name} (pid ") == 5
    assert log.count("exited with code 7 after") == 4
    assert "exited with code 7, 5 times in a row at its start: exiting with code 1" in log
    assert descendants(both.popen.pid) == []


def test_names_the_port_that_it_cannot_have(start, free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        refused = start(wait=False)
        code = refused.wait()

    reason = f"cannot listen on 127.0.0.1:{free_port}: Address already in use. Set PORT or API_BIND_ADDR"
    assert (code, refused.log.read_text()) == (1, f"haulier: {reason}\n")


def test_chooses_settings_that_suit_it_but_for_what_is_set(start, enqueue):
    both = start(WEB_CONCURRENCY=2, LOG_JOBS="")
    job = enqueue("t.note")

    eventually(lambda: f"s job_id={job.id}" in both.log.read_text())

    log = both.log.read_text()
    assert "with up to 12 database connections in total" in log
    assert "up to 6 database connections: 2 processes x 3 threads" in log


@pytest.mark.parametrize(
    "jobs", [pytest.param(120, id="briefly"), pytest.param(400, id="for long", marks=pytest.mark.slow)]
)
def test_needs_no_more_connections_than_a_plan_of_20_leaves_to_others(few_connections, start, sql, jobs):
    limited = few_connections(20)
    both = start(DATABASE_URL=limited, EXECUTOR="simulated", HAULIER_KINDS="")
    body = {"kind": "summarize_text", "payload": {"text": "One. Two."}}
    open_now = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    answered, connections = set(), []

    with requests.Session() as session, ThreadPoolExecutor(8) as clients:
        due = time.monotonic()
        for _ in range(jobs // 8):
            # Eight at once, 50 a second.
            due += 8 / 50
            responses = clients.map(lambda _: session.post(f"{both.url}/jobs", json=body, timeout=10), range(8))
            answered |= {each.status_code for each in responses}
            connections += [count for [count] in sql(open_now, parse_dsn(limited)["user"])]
            eventually(lambda due=due: time.monotonic() >= due)

    print(f"up to {max(connections)} connections")
    assert answered == {201}
    # Of web, at most 3; of the worker, with its housekeeping, at most 5.
    assert 3 < max(connections) <= 8
    assert "with up to 9 database connections in total" in both.log.read_text()
    assert "up to 3 database connections: 1 processes x 3 threads" in both.log.read_text()
    eventually(lambda: sql("SELECT count(*) FROM haulier.jobs WHERE status = 'succeeded'") == [(jobs,)])
