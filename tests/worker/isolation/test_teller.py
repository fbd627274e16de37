"""How a child process reports its job's progress: it ..."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haulier.config import Config
from haulier.worker.isolation.run import LENGTH, _Context, _Teller
from tests.worker.jobs import a_job


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
    context = _Context(a_job("mail"), Config("postgres://unused"))
    context.speaks = lambda: None
    return context


def test_says_what_is_new_once_and_nothing_of_a_job_that_has_ended(teller, heard):
    # The same again of the next job.
    for number in (7, 8):
        context = a_context()
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
