"""How many requests a key may make: the limit, its answer, and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http.keyring import _Budget
from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import Loan, NewKey
from tests.conftest import PATIENCE
from tests.patience import last_in_vain
from tests.web import EMAIL

MakeKey = Callable[..., dict[str, str]]


@pytest.fixture
def make_key(conn: Connection) -> MakeKey:
    """Give a function that makes a key of this rate and returns the headers that show it."""

    def make_key(rate: float | None) -> dict[str, str]:
        _, token = api_keys.create(conn, NewKey("tests", [Scope.ADMIN], rate_limit=rate), actor="test")
        return {"Authorization": f"Bearer {token}"}

    return make_key


@pytest.fixture
def public(make_app: Callable[..., Flask], config: Config) -> FlaskClient:
    """Give the client of a service that asks for keys."""
    return make_app(replace(config, host="0.0.0.0")).test_client()


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
    public: FlaskClient, make_key: MakeKey, count_jobs: Callable[[], int]
) -> None:
    shown = make_key(0.5)

    first, second = (public.post("/jobs", json=EMAIL, headers=shown) for _ in range(2))

    assert first.status_code == 201
    assert (second.status_code, second.json["error"]) == (429, "rate_limited")
    assert 1 <= int(second.headers["Retry-After"]) <= 2
    assert count_jobs() == 1


def test_each_key_has_a_rate_of_its_own_and_one_without_has_none(public: FlaskClient, make_key: MakeKey) -> None:
    slow, other, free = make_key(1), make_key(1), make_key(None)

    answers = {
        name: [public.get("/kinds", headers=headers).status_code for _ in range(3)]
        for name, headers in (("slow", slow), ("other", other), ("free", free))
    }

    assert answers["slow"][0] == answers["other"][0] == 200
    assert 429 in answers["slow"]
    assert answers["free"] == [200] * 3


def test_it_is_open_again_after_what_retry_after_says(public: FlaskClient, make_key: MakeKey) -> None:
    shown = make_key(2)
    while (refused := public.get("/kinds", headers=shown)).status_code == 200:
        pass

    refused_for = last_in_vain(lambda: public.get("/kinds", headers=shown).status_code == 200)

    assert refused_for < int(refused.headers["Retry-After"])


def test_requests_are_not_statements(public: FlaskClient, make_key: MakeKey, loans: list[Loan]) -> None:
    shown = make_key(100_000)

    began = time.monotonic()
    answers = [public.get("/kinds", headers=shown).status_code for _ in range(600)]
    spent = time.monotonic() - began

    assert answers == [200] * 600
    # 1, 2, 4, …, 512, and then one a second.
    assert len(loans) <= 10 + spent + 1


def test_refusals_are_not_statements_either(public: FlaskClient, make_key: MakeKey, loans: list[Loan]) -> None:
    shown = make_key(0.01)

    answers = [public.get("/kinds", headers=shown).status_code for _ in range(300)]

    assert answers == [200] + [429] * 299
    assert len(loans) <= 2


def test_a_batch_is_one_request(public: FlaskClient, make_key: MakeKey) -> None:
    shown = make_key(1)

    answer = public.post("/jobs/batch", json=[EMAIL] * 50, headers=shown)

    assert answer.status_code == 201


def test_several_processes_share_one_rate(run_gunicorn: Any, database: str, make_key: MakeKey) -> None:
    shown = make_key(20)
    with run_gunicorn(database, WEB_CONCURRENCY="3") as server, ThreadPoolExecutor(6) as others:
        deadline = time.monotonic() + 3

        def ask(_: int) -> list[int]:
            found = []
            with requests.Session() as session:
                while time.monotonic() < deadline:
                    found.append(session.get(f"{server.url}/kinds", headers=shown).status_code)
            return found

        answers = [status for found in others.map(ask, range(6)) for status in found]

    assert set(answers) == {200, 429}
    # The bucket, and three seconds of it; not three times as much.
    assert 40 <= answers.count(200) <= 20 + 3 * 20 + 10


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
