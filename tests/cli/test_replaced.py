"""Processes that are killed, also while nobody reads their log, which blocks a write for good. The command ..."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from haulier.domain.job import JobStatus
from lab.descendants import usage
from tests.conftest import PATIENCE, eventually
from tests.local.conftest import alive, descendants
from tests.web import answers

MOST_BYTES = 512 * 1024 * 1024
pytestmark = [
    pytest.mark.direct("is about processes, and not about the way to the database"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can choose how much a pipe holds"),
]


def test_replaces_and_stops_worker_processes_and_says_what_log_was_lost(run_command, enqueue, finished):
    parent = run_command("worker", WORKER_PROCESSES=2)
    jobs = [enqueue("t.note") for _ in range(60)]
    assert {finished(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    eventually(parent.is_full)

    parent.is_replaced("worker")

    parent.read_on()
    said = b"writes to this log were lost: the disk was full, or the reader was too slow"
    # By the one that has just started, at the latest: nothing of its start can be read.
    eventually(lambda: finished(enqueue("t.note")) and said in parent.log)
    parent.stop()


def test_answers_replaces_and_stops_as_an_api_whose_log_is_unread(run_command):
    api = run_command("web", WEB_CONCURRENCY=1)
    eventually(lambda: answers(api.url))
    eventually(lambda: answers(api.url) and api.is_full())

    api.is_replaced("gunicorn")

    eventually(lambda: answers(api.url))
    api.stop()


@pytest.mark.slow
def test_replaces_each_process_within_512_mb_and_obeys_sigterm_meanwhile(run_command, enqueue, finished):
    both = run_command("all", LEASE_SECONDS=3, HAULIER_KINDS="kinds_of_tests,isolated_kinds")
    both.read_on()
    eventually(lambda: answers(both.url))
    jobs = [enqueue("t.note", {"seconds": 0.5}) for _ in range(8)]

    for name in ("haulier worker", "gunicorn", "haulier worker", "gunicorn"):
        both.is_replaced(name)
    ended = {finished(job).status for job in jobs}
    eventually(lambda: answers(both.url))
    # With the process of isolated kinds, which the first job of one starts.
    assert finished(enqueue("i.quick")).status == JobStatus.SUCCEEDED
    all_of_it = [both.popen.pid, *(each.pid for each in descendants(both.popen.pid))]
    memory = sum(used.rss for pid in all_of_it if (used := usage(pid)) is not None)
    below = descendants(both.popen.pid)
    os.kill(both.children("haulier worker")[0].pid, signal.SIGKILL)
    both.popen.terminate()

    assert ended == {JobStatus.SUCCEEDED}
    print(f"{len(all_of_it)} processes take {memory / 1e6:.0f} MB")
    assert memory <= MOST_BYTES
    # 1 if it is stopped first, and then sees that a process was killed.
    assert both.popen.wait(PATIENCE) in (0, 1)
    assert not alive(below)
    assert descendants(both.popen.pid) == []
