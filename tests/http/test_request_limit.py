"""How many slow requests run at once: in a process, and of one caller."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.http.limits import request_limit
from app.http.limits.request_limit import RequestLimit
from app.http.request_errors import RateLimited, TooBusy


def test_leaves_places_to_other_callers_and_a_thread_to_quick_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 0.0)
    for threads, of_one, of_all in ((1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 3), (8, 4, 7), (9, 4, 8)):
        limit = RequestLimit(threads)

        for _ in range(of_one):
            limit.enter("one")
        with pytest.raises(RateLimited) as refused:
            limit.enter("one")
        for number in range(of_all - of_one):
            limit.enter(f"other {number}")
        with pytest.raises(TooBusy):
            limit.enter("too many")
        limit.leave("one")
        limit.enter("one more")

        assert refused.value.seconds == 1


def test_lets_one_caller_wait_a_moment_for_a_place(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 60.0)
    limit = RequestLimit(3)
    limit.enter("one")

    with ThreadPoolExecutor(1) as other:
        entered = other.submit(limit.enter, "one")
        eventually(lambda: limit._is_waited)
        with pytest.raises(RateLimited):
            limit.enter("one")
        limit.leave("one")
        entered.result(10)

    assert limit._running == {"one": 1}


def test_gives_up_a_thread_in_which_it_waits_once_others_need_it(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 60.0)
    limit = RequestLimit(3)
    limit.enter("one")

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(limit.enter, "one")
        eventually(lambda: limit._is_waited)
        limit.enter("other")

        assert isinstance(waiting.exception(10), RateLimited)


def test_does_not_wait_again_soon_after_a_wait_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(request_limit, "NO_WAIT_SECONDS", 3600.0)
    limit = RequestLimit(3)
    limit.enter("one")
    with pytest.raises(RateLimited):
        limit.enter("one")

    # It would not end before the test's own time is up.
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 3600.0)
    with pytest.raises(RateLimited):
        limit.enter("one")


def test_keeps_its_bounds_whoever_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 0.001)
    monkeypatch.setattr(request_limit, "MOST_CALLERS", 3)
    limit, running, lock = RequestLimit(6), Counter[str](), threading.Lock()
    start, most, entered = threading.Barrier(8), Counter[str](), Counter[str]()

    def come_and_go(seed: int) -> None:
        drawn = random.Random(seed)
        start.wait(10)
        for _ in range(200):
            caller = drawn.choice("aabcdefgh")
            try:
                limit.enter(caller)
            except (RateLimited, TooBusy):
                continue
            with lock:
                running[caller] += 1
                entered[caller] += 1
                most[caller] = max(most[caller], running[caller])
                most["all"] = max(most["all"], running.total())
            with lock:
                running[caller] -= 1
            limit.leave(caller)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(come_and_go, range(8)))

    assert set(entered) == set("abcdefgh")
    assert most.pop("all") <= 5
    assert max(most.values()) <= 3
    assert limit._running == {}
    assert len(limit._no_wait_until) <= 3
