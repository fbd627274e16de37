"""Firing as the scheduler's thread calls it, turn by turn. It ..."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from haulier.postgres.connection import connect
from haulier.postgres.pool import Database
from haulier.postgres.statements import transaction
from haulier.queue.schedules import fire
from haulier.worker.link.outage import Outage
from haulier.worker.steps.fire import LOCKED_SECONDS, LOOK_SECONDS, Firing
from tests.queue.schedules.schedules import plant, ticks
from tests.worker.waiting import let_pass


@pytest.fixture
def step(database: str) -> Iterator[Firing]:
    made = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    yield made
    made.database.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Give a list of what the database has answered, each time that it was asked when something is due."""
    seen: list[float | None] = []
    ask = fire.next_look

    def noted(*args: object, **options: object) -> float | None:
        seen.append(ask(*args, **options))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(fire, "next_look", noted)
    return seen


def test_goes_on_at_once_and_without_asking_if_more_is_due_than_one_turn_decides(step, looks, sql, monkeypatch):
    monkeypatch.setattr(fire, "AT_ONCE", 2)
    for number in range(5):
        plant(sql, f"s{number}", seconds_ago=30, every_seconds=20)

    turns = [step.turn() for _ in range(3)]

    assert turns[:2] == [0.0, 0.0]
    assert 0 < (turns[2] or 0) <= LOOK_SECONDS
    assert sql("SELECT count(*) FROM haulier.tick") == [(5,)]
    # Before the first turn, and after the last one.
    assert len(looks) == 2


def test_fires_what_it_has_waited_for_without_asking_again(step, looks, sql):
    plant(sql, seconds_ago=0)
    seconds = step.turn()
    before = len(ticks(sql))
    looks.clear()
    let_pass(seconds or 0)

    assert step.turn() is not None
    assert len(ticks(sql)) > before
    assert len(looks) == 1

    sql("UPDATE haulier.schedule SET look_at = '2100-01-01'")
    looks.clear()
    assert [step.turn() for _ in range(2)] == [LOOK_SECONDS] * 2
    # Once after it found nothing, and once before it would.
    assert [seconds is not None and seconds > LOOK_SECONDS for seconds in looks] == [True, True]


def test_asks_first_once_others_have_fired_what_was_locked(step, looks, database, sql, monkeypatch):
    plant(sql, seconds_ago=30, every_seconds=20)
    step._is_due = True
    with closing(connect(database)) as other, transaction(other):
        fire.fire_due(other, retention_days=30)
        assert step.turn() == LOCKED_SECONDS
    assert len(looks) == 1
    monkeypatch.setattr(fire, "fire_due", None)

    assert 0 < (step.turn() or 0) <= LOOK_SECONDS


def test_looks_once_a_second_and_fires_nothing_while_nothing_is_due(step, looks, sql, monkeypatch):
    plant(sql, every_seconds=3600)
    step.turn()
    looks.clear()
    monkeypatch.setattr(fire, "fire_due", None)

    assert [step.turn() for _ in range(3)] == [LOOK_SECONDS] * 3

    assert len(looks) == 3
