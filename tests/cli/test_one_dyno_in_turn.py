"""`haulier all`, of which one process after the other is killed: it ..."""

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

pytestmark = [
    pytest.mark.direct("is about processes, and not about the way to the database"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody waits for orphans"),
]
MOST_BYTES = 512 * 1024 * 1024


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
