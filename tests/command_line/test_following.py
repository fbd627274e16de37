"""`haulier jobs watch` and `haulier jobs tail`: it ..."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from uuid import uuid4

from haulier.queue import claims
from tests import queueing
from tests.api.conftest import Fail
from tests.command_line.conftest import ABSENT, SUMMARY, Run
from tests.conftest import PATIENCE, eventually
from tests.docs.stack import _worker as worker


def test_watches_jobs_until_all_have_ended(run: Run, database: str) -> None:
    ids = [run("enqueue", "summarize_text", SUMMARY, "--delay", delay).out.strip() for delay in ("0s", "1s")]

    with worker(database):
        watched = run("jobs", "watch", *ids, "--wait", "20s")
        again = run("jobs", "watch", *ids, "--json")

    assert watched.code == again.code == 0
    steps = [line.split()[1:3] for line in watched.out.splitlines()]
    for job in ids:
        assert [step for each, step in steps if each == job][0] == "queued"
        assert [step for each, step in steps if each == job][-1] == "succeeded"
    assert sorted(job["id"] for job in again.lines) == sorted(ids)


def test_exits_with_a_code_for_how_jobs_have_ended(run: Run, fail: Fail, job: str) -> None:
    failed = str(fail("no luck\x1b\nat all").id)
    waits = run("jobs", "watch", failed, job, "--wait", "0.2s")
    run("jobs", "cancel", job)
    cancelled, both = run("jobs", "watch", job), run("jobs", "watch", job, failed)

    assert (waits.code, cancelled.code, both.code) == (124, 8, 7)
    assert waits.err == f"haulier: not ended after 200 ms: {job}\n"
    assert r"no luck\x1b" in both.out
    assert both.out.count("\n") == 2
    assert run("jobs", "watch", ABSENT).code == 3


@contextmanager
def tailing(start: Callable[..., Popen[str]], *options: str) -> Iterator[list[str]]:
    """Give the lines that `haulier jobs tail` prints until Ctrl-C, at which it ends."""
    lines: list[str] = []
    with start("jobs", "tail", "--every", "0.1", *options) as tail:
        reading = threading.Thread(target=lambda: lines.extend(tail.stdout or ()), daemon=True)
        reading.start()
        yield lines
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(PATIENCE), tail.stderr.read().strip()) == (130, "")
        reading.join()


def test_shows_what_ends_as_it_does_and_nothing_twice(start, run: Run, fail: Fail) -> None:
    before = str(fail("before").id)
    with tailing(start, "--kind", "mail", "--json") as found:
        # It has begun to look once it shows something.
        made = [str(fail("first").id)]
        eventually(lambda: found or made.append(str(fail("more").id)))
        made.append(str(fail("last").id))
        run("jobs", "cancel", run("enqueue", "summarize_text", SUMMARY).out.strip())
        eventually(lambda: any(made[-1] in line for line in found))

    jobs = [json.loads(line) for line in found]
    shown = [job["id"] for job in jobs]
    assert len(jobs) == len({(job["id"], job["status"]) for job in jobs})
    assert set(shown) <= set(made)
    assert before not in shown
    assert made[-1] in shown


def test_shows_what_runs_once_it_has_begun(start, run: Run, conn) -> None:
    with tailing(start) as found:
        me = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)

        def begun() -> bool:
            run("enqueue", "summarize_text", SUMMARY)
            queueing.claim(conn, worker_id=me, claim_id=uuid4(), queues=())
            return bool(found)

        eventually(begun)

    assert found[0].split()[2:] == ["running", "summarize_text", "default", "attempt", "1"]


def test_ends_after_the_time_that_is_said(run: Run) -> None:
    ended = run("jobs", "tail", "--for", "0.3s", "--every", "0.1")

    assert (ended.code, ended.out) == (0, "")
    assert run("jobs", "tail", "--finished-after", "1h").code == 2
