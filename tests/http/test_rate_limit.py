"""How many requests a key may make: the limit, its answer, and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from app.http.keyring import _Budget
from haulier.domain.api_key import ApiKey
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import Loan
from tests.conftest import PATIENCE
from tests.http.callers import MakeKey
from tests.patience import last_in_vain
from tests.web import EMAIL

Rated = Callable[[float | None], dict[str, str]]


@pytest.fixture
def rated(make_key: MakeKey) -> Rated:
    """Give a function that returns the headers of a new key with this rate."""
    return lambda rate: make_key(rate_limit=rate)[1]


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


def test_who_asks_too_often_is_429_and_told_when_to_come_again(
    closed: FlaskClient, rated: Rated, count_jobs: Callable[[], int]
) -> None:
    shown = rated(0.5)

    first, second = (closed.post("/jobs", json=EMAIL, headers=shown) for _ in range(2))

    assert first.status_code == 201
    assert (second.status_code, second.json["error"]) == (429, "rate_limited")
    assert 1 <= int(second.headers["Retry-After"]) <= 2
    assert count_jobs() == 1


def test_each_key_has_its_own_rate_or_none(closed: FlaskClient, rated: Rated) -> None:
    slow, other, free = rated(1), rated(1), rated(None)

    answers = {
        name: [closed.get("/kinds", headers=headers).status_code for _ in range(3)]
        for name, headers in (("slow", slow), ("other", other), ("free", free))
    }

    assert answers["slow"][0] == answers["other"][0] == 200
    assert 429 in answers["slow"]
    assert answers["free"] == [200] * 3


def test_it_is_open_again_after_what_retry_after_says(closed: FlaskClient, rated: Rated) -> None:
    shown = rated(2)
    while (refused := closed.get("/kinds", headers=shown)).status_code == 200:
        pass

    refused_for = last_in_vain(lambda: closed.get("/kinds", headers=shown).status_code == 200)

    assert refused_for < int(refused.headers["Retry-After"])


def test_requests_are_not_statements(closed: FlaskClient, rated: Rated, loans: list[Loan]) -> None:
    shown = rated(100_000)

    began = time.monotonic()
    answers = [closed.get("/kinds", headers=shown).status_code for _ in range(600)]
    spent = time.monotonic() - began

    assert answers == [200] * 600
    # 1, 2, 4, …, 512, and then one a second.
    assert len(loans) <= 10 + spent + 1


def test_refusals_are_not_statements_either(closed: FlaskClient, rated: Rated, loans: list[Loan]) -> None:
    shown = rated(0.01)

    answers = [closed.get("/kinds", headers=shown).status_code for _ in range(300)]

    assert answers == [200] + [429] * 299
    assert len(loans) <= 2


def test_a_batch_is_one_request(closed: FlaskClient, rated: Rated) -> None:
    shown = rated(1)

    answer = closed.post("/jobs/batch", json=[EMAIL] * 50, headers=shown)

    assert answer.status_code == 201


def test_several_processes_share_one_rate(run_gunicorn: Any, database: str, rated: Rated) -> None:
    shown = rated(20)
    with run_gunicorn(database, WEB_CONCURRENCY="3") as server, ThreadPoolExecutor(6) as others:
        deadline = time.monotonic() + 2

        def ask(_: int) -> list[int]:
            found = []
            with requests.Session() as session:
                while time.monotonic() < deadline:
                    found.append(session.get(f"{server.url}/kinds", headers=shown).status_code)
            return found

        answers = [status for found in others.map(ask, range(6)) for status in found]

    assert set(answers) == {200, 429}
    # The bucket, and two seconds of it; not three times as much.
    assert 30 <= answers.count(200) <= 20 + 2 * 20 + 10


def test_threads_never_take_more_than_was_lent() -> None:
    key = ApiKey("a", "a", frozenset(), (), rate_limit=50)
    budget, given, lent, lock = _Budget(), [], [], threading.Lock()

    def borrow(asked: int, unused: int) -> Loan:
        loan = Loan(min(asked, 50 - sum(lent)), 1.0)
        lent.append(loan.granted)
        return loan

    def take() -> None:
        for _ in range(40):
            if not budget.take(key, borrow):
                with lock:
                    given.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(given) == sum(lent) == 50


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
