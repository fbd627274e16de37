"""The processes of isolated kinds, without a worker: what comes of a job, and how it reports its progress. It ..."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from marshmallow import RAISE, Schema

from haulier.config import Config
from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import JobContext, Kind, RetryPolicy, StopReason
from haulier.worker.isolation.child import Child
from haulier.worker.isolation.children import Children
from haulier.worker.isolation.run import LENGTH, _Context, _Teller
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


def answers_its_own(children: Children) -> None:
    context, outcome = run(children)
    assert outcome.result == f'"{context.job.id}"'


def makes_no_sense(children: Children, doubtful: Outcome) -> None:
    """Check that the outcome is a failure for what the child said, and that the next job gets its own."""
    assert doubtful.verb is Verb.FAIL
    assert "invalid message" in doubtful.error
    answers_its_own(children)


@pytest.mark.parametrize("reason", StopReason)
def test_a_job_that_is_stopped_leaves_no_answer_to_the_next(children, monkeypatch, reason):
    receive, first = Child.receive, iter([None])
    with monkeypatch.context() as slow:
        # Not ready when it is looked at for the first time.
        slow.setattr(Child, "receive", lambda child, seconds: next(first, child) and receive(child, seconds))
        _, stopped = run(children, lambda context: context.stop(reason))
    assert stopped.verb is (Verb.FAIL if reason is StopReason.TIMEOUT else Verb.RELEASE)
    answers_its_own(children)

    for milliseconds in (0, 1, 2, 5, 20, 80, 200):
        timers = []

        def stop_soon(context: JobContext, timers=timers, seconds=milliseconds / 1000) -> None:
            timers.append(threading.Timer(seconds, context.stop, [reason]))
            timers[0].start()

        run(children, stop_soon)
        timers[0].join()
        answers_its_own(children)


def test_progress_that_makes_no_sense_ends_the_child(children, monkeypatch):
    run(children)
    receive, messages = Child.receive, []
    for said in (None, 5, [1, 2], [1, 2, "x", 4], ["1", None, None], [float("nan"), None, None], [1, 2, {}], "abc"):
        messages[:] = [{"number": 2, "progress": word} for word in (said, [1, 2, "x"])]
        with monkeypatch.context() as odd:
            odd.setattr(Child, "receive", lambda *given: messages.pop() if messages else receive(*given))
            context, doubtful = run(children)

        makes_no_sense(children, doubtful)
        assert context.said[:3] == (1, 2, "x")


def test_an_answer_to_another_job_is_no_answer(children, monkeypatch):
    run(children)
    start = Child.start

    def start_twice(child: Child, job: object) -> None:
        start(child, a_job(KIND.name))
        start(child, job)

    with monkeypatch.context() as wrong:
        wrong.setattr(Child, "start", start_twice)
        _, doubtful = run(children)

    makes_no_sense(children, doubtful)
    eventually(lambda: len(children.pids()) == 1)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        yield ours, theirs


@pytest.fixture
def teller(pair: tuple[socket.socket, socket.socket]) -> _Teller:
    return _Teller(pair[1])


@pytest.fixture
def heard(pair: tuple[socket.socket, socket.socket]) -> Callable[[], Any]:
    """Give a function that returns what was said next, or None."""

    def heard() -> Any:
        try:
            [length] = LENGTH.unpack(pair[0].recv(LENGTH.size))
        except TimeoutError:
            return None
        return json.loads(pair[0].recv(length))

    return heard


def a_context() -> _Context:
    return _Context(a_job("mail"), CONFIG)


def test_says_what_is_new_once_and_nothing_of_a_job_that_has_ended(teller, heard):
    # The same again of the next job.
    for number in (7, 8):
        context = a_context()
        context.speaks = lambda: None
        teller.begin(number, context)
        tells = [teller._tell()]
        context.progress(1, 2, "ä")
        tells += [teller._tell(), teller._tell()]
        context.progress(2)
        tells += [teller._tell()]
        context.progress(3)
        teller.end()
        # The worker would take it for a word on the next job.
        tells += [teller._tell()]

        assert tells == [False, True, True, True, False]
        assert heard() == {"number": number, "progress": [1, 2, "ä"]}
        assert heard() == {"number": number, "progress": [2, None, None]}
        assert heard() is None


def test_a_job_whose_progress_no_thread_can_be_had_for_runs_on(teller, monkeypatch):
    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    context = a_context()
    context.speaks = teller.speaks
    teller.begin(1, context)

    context.progress(1)

    assert context.said is not None
