"""Room for large requests: it ..."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.http import in_hand
from app.http.errors import Busy
from app.http.in_hand import Room
from haulier.requests.invalid import Invalid
from tests.conftest import PATIENCE

Eventually = Callable[..., Any]


def test_is_shared_by_those_that_fit_and_left_when_they_fail() -> None:
    room = Room(10)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), room.taken(6), room.taken(4):
            raise ZeroDivisionError

    with room.taken(10):
        pass


def test_is_given_whole_to_whoever_wants_more_than_there_is() -> None:
    room = Room(10)

    with room.taken(1_000):
        pass
    with room.taken(10):
        pass


def test_is_given_in_the_order_in_which_it_was_asked_for(eventually: Eventually) -> None:
    room, order, over = Room(10), [], threading.Event()

    def take(size: int) -> None:
        with room.taken(size):
            order.append(size)

    with ThreadPoolExecutor(2) as others:
        with room.taken(8):
            large = others.submit(take, 9)
            eventually(room._turn.locked)
            small = others.submit(take, 1)
            assert not over.wait(0.1)
            assert order == []
        assert (large.result(PATIENCE), small.result(PATIENCE)) == (None, None)

    assert order == [9, 1]


def test_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(10)
    monkeypatch.setattr(in_hand, "WAIT_SECONDS", 0.05)

    with room.taken(10), pytest.raises(Busy), room.taken(1):
        pass

    with room.taken(10):
        pass


def test_lets_go_of_what_a_fault_was_found_in() -> None:
    def look(item: list[int]) -> None:
        try:
            raise KeyError(item)
        except KeyError:
            raise Invalid({"a": ["No."]}) from None

    with pytest.raises(Invalid) as raised, Room(10).taken(1):
        look([1, 2, 3])

    frames = []
    trace = raised.value.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "look" not in frames
    assert raised.value.__context__ is None


@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch", "/jobs/batch?atomic=false"])
def test_leaves_no_refused_request_to_the_garbage_collector(client: FlaskClient, path: str) -> None:
    wrong = {"kind": "webhook_delivery", "payload": {"url": 1, "unknown": 1}, "unknown": 1}
    asked = [wrong] * 3 if "batch" in path else wrong
    client.post(path, json=asked)

    gc.collect()
    gc.disable()
    try:
        status = client.post(path, json=asked).status_code
        frames = [each.f_code.co_name for each in gc.get_objects() if isinstance(each, FrameType)]
    finally:
        gc.enable()

    assert status == (200 if "atomic" in path else 422)
    # The functions that hold what was sent.
    assert {"post", "_all_or_nothing", "_one_by_one", "_do_load"} & set(frames) == set()
