"""How many requests a key may make, how often an address may fail, and how many slow requests run at once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from app.http.keyring import _Budget
from app.http.limits import fault_limit, request_limit
from app.http.limits.fault_limit import Failures
from app.http.limits.request_limit import RequestLimit
from app.http.request_errors import RateLimited, TooBusy
from haulier.domain.api_key import ApiKey
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import Loan
from tests.conftest import eventually
from tests.http.callers import MakeKey
from tests.patience import last_in_vain
from tests.web import EMAIL


@pytest.fixture
def loans(monkeypatch: pytest.MonkeyPatch) -> list[Loan]:
    """Give the loans that were asked of the database, as they come."""
    found: list[Loan] = []
    borrow = api_keys.borrow

    def noted(*args: Any, **kwargs: Any) -> Loan:
        found.append(borrow(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(api_keys, "borrow", noted)
    return found


def test_who_asks_too_often_is_429_until_the_time_that_it_says(
    closed: FlaskClient, make_key: MakeKey, count_jobs: Callable[[], int]
) -> None:
    slow, other, free = (make_key(rate_limit=rate)[1] for rate in (0.2, 1, None))

    # A batch is one request.
    first = closed.post("/jobs/batch", json=[EMAIL] * 50, headers=slow)
    refused = closed.post("/jobs", json=EMAIL, headers=slow)

    assert first.status_code == 201
    assert (refused.status_code, refused.json["error"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert count_jobs() == 50
    # Another key has a rate of its own, or none.
    others = [[closed.get("/kinds", headers=each).status_code for _ in range(4)] for each in (other, free)]
    assert (others[0][0], 429 in others[0], others[1]) == (200, True, [200] * 4)


def test_it_is_open_again_after_what_retry_after_says(closed: FlaskClient, make_key: MakeKey) -> None:
    _, shown = make_key(rate_limit=2)
    while (refused := closed.get("/kinds", headers=shown)).status_code == 200:
        pass

    refused_for = last_in_vain(lambda: closed.get("/kinds", headers=shown).status_code == 200)

    assert refused_for < int(refused.headers["Retry-After"])


def test_neither_requests_nor_refusals_are_statements(
    closed: FlaskClient, make_key: MakeKey, loans: list[Loan]
) -> None:
    (_, quick), (_, slow) = make_key(rate_limit=100_000), make_key(rate_limit=0.01)

    began = time.monotonic()
    answers = [closed.get("/kinds", headers=quick).status_code for _ in range(600)]
    spent, lent = time.monotonic() - began, len(loans)
    refused = [closed.get("/kinds", headers=slow).status_code for _ in range(300)]

    assert (answers, refused) == ([200] * 600, [200] + [429] * 299)
    # 1, 2, 4, …, 512, and then one a second.
    assert lent <= 10 + spent + 1
    assert len(loans) - lent <= 2


def test_several_processes_share_one_rate(run_gunicorn: Any, database: str, make_key: MakeKey) -> None:
    _, shown = make_key(rate_limit=20)
    with run_gunicorn(database, WEB_CONCURRENCY="3") as server, ThreadPoolExecutor(6) as others:
        deadline = time.monotonic() + 1

        def ask(_: int) -> list[int]:
            found = []
            with requests.Session() as session:
                while time.monotonic() < deadline:
                    found.append(session.get(f"{server.url}/kinds", headers=shown).status_code)
            return found

        answers = [status for found in others.map(ask, range(6)) for status in found]

    assert set(answers) == {200, 429}
    # The bucket, and a second of it; not three times as much.
    assert 25 <= answers.count(200) <= 20 + 20 + 15


def test_threads_never_take_more_than_was_lent() -> None:
    key = ApiKey("a", "a", frozenset(), (), rate_limit=50)
    budget, lent = _Budget(), []

    def borrow(asked: int, unused: int) -> Loan:
        loan = Loan(min(asked, 50 - sum(lent)), 1.0)
        lent.append(loan.granted)
        return loan

    with ThreadPoolExecutor(8) as threads:
        taken = threads.map(lambda _: sum(not budget.take(key, borrow) for _ in range(40)), range(8))

    assert sum(taken) == sum(lent) == 50


def test_what_is_not_used_goes_back_and_less_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ApiKey("a", "a", frozenset(), (), rate_limit=100)
    budget, asked_for = _Budget(), []

    def borrow(asked: int, unused: int) -> Loan:
        asked_for.append((asked, unused))
        return Loan(asked, 0.0)

    for _ in range(9):
        budget.take(key, borrow)
    budget.until = float("-inf")
    budget.take(key, borrow)

    assert asked_for[:4] == [(1, 0), (2, 0), (4, 0), (8, 0)]
    assert asked_for[4] == (2, 6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, which stands still."""
    now = [1000.0]
    monkeypatch.setattr(fault_limit.time, "monotonic", lambda: now[0])
    return now


def test_lets_an_address_fail_again_as_time_goes_by(clock: list[float]) -> None:
    failed = Failures(10.0, 3.0)
    for _ in range(3):
        assert failed.wait("a") == 0
        failed.note("a")

    waits = [failed.wait("a"), failed.wait("b")]
    for seconds in (0.05, 0.05):
        clock[0] += seconds
        waits.append(failed.wait("a"))
    clock[0] += 3600
    for _ in range(3):
        failed.note("a")

    assert waits == pytest.approx([0.1, 0.0, 0.05, 0.0])
    assert failed.wait("a") > 0


def test_gives_many_addresses_no_more_than_some(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_limit, "MOST_ADDRESSES", 10)
    failed, done = Failures(1.0, 2.0), 0

    for number in range(1000):
        address = f"2001:db8::{number:x}"
        while not failed.wait(address):
            failed.note(address)
            done += 1

    # Ten accounts of their own, and the one that all others share.
    assert done == 22
    assert len(failed._left) <= 11
    clock[0] += 3600
    assert failed.wait("another") == 0
    failed.note("another")
    assert list(failed._left) == ["another"]


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


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RequestLimit, Future[None]]]:
    """Give a limit at which one caller has a place and waits for another, and what becomes of that wait."""
    monkeypatch.setattr(request_limit, "WAIT_SECONDS", 60.0)
    limit = RequestLimit(3)
    limit.enter("one")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(limit.enter, "one")
        eventually(lambda: limit._is_waited)
        yield limit, waiting


def test_lets_one_caller_wait_a_moment_for_a_place(waited_for: tuple[RequestLimit, Future[None]]) -> None:
    limit, waiting = waited_for

    with pytest.raises(RateLimited):
        limit.enter("one")
    limit.leave("one")
    waiting.result(10)

    assert limit._running == {"one": 1}


def test_gives_up_a_thread_in_which_it_waits_once_others_need_it(
    waited_for: tuple[RequestLimit, Future[None]],
) -> None:
    limit, waiting = waited_for

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
