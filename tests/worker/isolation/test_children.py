"""The processes of isolated kinds, without a worker: whatever comes between, a job's outcome is its own. It ..."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from marshmallow import RAISE, Schema

from haulier.config import Config
from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import JobContext, Kind, RetryPolicy, StopReason
from haulier.worker.isolation.child import Child
from haulier.worker.isolation.children import Children
from tests.conftest import eventually
from tests.worker.jobs import a_job

CONFIG = Config("postgres://unused", log_level="WARNING", isolated_processes=1)
# Not registered here: the child imports it by its name.
KIND = Kind(
    "i.which", Schema(unknown=RAISE), lambda *_: None, isolated=True, retry=RetryPolicy(), module="isolated_kinds"
)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[Children]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    with closing(Children(CONFIG)) as made:
        yield made


def run(children: Children, stop: Callable[[JobContext], object] = lambda _: None) -> tuple[JobContext, Outcome]:
    context = JobContext(a_job(KIND.name), CONFIG)
    assert children.take_place()
    stop(context)
    return context, children.run(KIND, context)


@pytest.mark.parametrize("reason", StopReason)
def test_a_job_that_is_stopped_before_its_process_is_ready_leaves_no_answer_to_the_next(children, monkeypatch, reason):
    receive, first = Child.receive, iter([None])
    with monkeypatch.context() as slow:
        # Not ready when it is looked at for the first time.
        slow.setattr(Child, "receive", lambda child, seconds: next(first, child) and receive(child, seconds))
        _, stopped = run(children, lambda context: context.stop(reason))

    ended = [run(children) for _ in range(3)]

    assert stopped.verb is (Verb.FAIL if reason is StopReason.TIMEOUT else Verb.RELEASE)
    assert [outcome.result for _, outcome in ended] == [f'"{context.job.id}"' for context, _ in ended]


@pytest.mark.parametrize("reason", StopReason)
def test_a_job_that_is_stopped_at_any_moment_leaves_no_answer_to_the_next(children, reason):
    for milliseconds in (0, 1, 2, 5, 20, 80, 200):
        context = JobContext(a_job(KIND.name), CONFIG)
        timer = threading.Timer(milliseconds / 1000, context.stop, [reason])
        timer.start()
        assert children.take_place()
        children.run(KIND, context)
        timer.join()

        following, outcome = run(children)

        assert outcome.result == f'"{following.job.id}"'


NO_PROGRESS = [None, 5, [], [1, 2], [1, 2, "x", 4], ["1", None, None], [float("nan"), None, None], [1, 2, {}], "abc"]


def test_a_word_on_its_progress_that_makes_no_sense_ends_the_child_and_harms_nobody(children, monkeypatch):
    run(children)
    receive, messages = Child.receive, []
    for said in NO_PROGRESS:
        messages[:] = [{"number": 2, "progress": word} for word in (said, [1, 2, "x"])]
        with monkeypatch.context() as odd:
            odd.setattr(Child, "receive", lambda *given: messages.pop() if messages else receive(*given))
            context, doubtful = run(children)

        following, outcome = run(children)

        assert doubtful.verb is Verb.FAIL, said
        assert "makes no sense" in doubtful.error
        assert context.said[:3] == (1, 2, "x")
        assert outcome.result == f'"{following.job.id}"'


def test_an_answer_to_another_job_is_no_answer(children, monkeypatch):
    run(children)
    start = Child.start

    def start_twice(child: Child, job: object) -> None:
        start(child, a_job(KIND.name))
        start(child, job)

    with monkeypatch.context() as wrong:
        wrong.setattr(Child, "start", start_twice)
        _, doubtful = run(children)

    following, outcome = run(children)

    assert doubtful.verb is Verb.FAIL
    assert "makes no sense" in doubtful.error
    assert outcome.result == f'"{following.job.id}"'
    eventually(lambda: len(children.pids()) == 1)
