"""What needs attention, rule by rule, on both sides of each edge: it ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.web.attention import Facts, Level, notices
from haulier.domain.worker import WorkerState
from haulier.queue.produce.errors import ErrorGroup
from haulier.queue.produce.stats import Figures, Live, Queue, Stats, Step
from haulier.queue.produce.workers import Worker

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)


def said(**known: Any) -> list[str]:
    return [notice.what for notice in notices(Facts(NOW, **known))]


def queue(name: str = "mail", due: int | None = 3, *, paused: bool = False) -> Queue:
    return Queue(name, Live(5, due, 0, 1.0), Figures(), NOW, paused)


def worker(*queues: str, state: WorkerState = WorkerState.WORKING) -> Worker:
    return Worker(uuid4(), "dock", 7, "1", 4, queues or None, (), state, NOW, NOW, NOW, False, 0)


def counted(*dues: int | None, oldest: float = 61.0, step: int = 60, age: float = 10.0) -> Stats:
    series = [Step(at=NOW, due=due) for due in dues]
    return Stats("1h", step, NOW - timedelta(seconds=age), NOW, live=Live(5, 5, 0, oldest), series=series)


def group(failed: int = 10, *, age: timedelta = timedelta(minutes=59), muted: timedelta | None = None) -> ErrorGroup:
    until = None if muted is None else NOW + muted
    return ErrorGroup(7, "mail", "no luck", None, None, NOW - age, NOW, failed, 0, until)


def test_says_nothing_of_what_is_not_known() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("queues", "workers", "what"),
    [
        ([queue()], [], ["3 jobs are due, and no worker lives"]),
        ([queue(due=1)], [worker(state=WorkerState.GONE)], ["1 job is due, and no worker lives"]),
        ([queue(due=0)], [], []),
        ([queue(due=None)], [], []),
        ([queue()], [worker()], []),
        ([queue()], [worker("mail")], []),
        ([queue()], [worker("bulk")], ["No live worker serves the queue mail, where 3 jobs are due"]),
        ([queue()], None, []),
    ],
)
def test_says_that_nobody_serves_what_is_due(queues: Any, workers: Any, what: list[str]) -> None:
    assert said(queues=queues, workers=workers) == what


@pytest.mark.parametrize(("days", "is_said"), [(2.9, True), (3.0, False), (-1.0, True)])
def test_says_that_the_partitions_end(days: float, is_said: bool) -> None:
    found = notices(Facts(NOW, days_ahead=days))

    assert [notice.level for notice in found] == [Level.BAD] * is_said


@pytest.mark.parametrize(
    ("stats", "is_said"),
    [
        (counted(1, 2, 3, 4), True),
        (counted(9, 1, 2, 3, 4), True),
        (counted(1, 2, 3), False),
        (counted(1, 2, 2, 3), False),
        (counted(1, 2, 3, 4, oldest=60.0), False),
        (counted(1, 2, 3, 4, step=300), False),
        (counted(None, 2, 3, 4), False),
    ],
)
def test_says_that_the_backlog_grows(stats: Stats, is_said: bool) -> None:
    assert bool(said(stats=stats)) is is_said


@pytest.mark.parametrize(
    ("found", "is_said"),
    [
        (group(), True),
        (group(9), False),
        (group(age=timedelta(hours=1)), False),
        (group(muted=timedelta(hours=1)), False),
        (group(muted=-timedelta(hours=1)), True),
    ],
)
def test_says_that_an_error_is_new(found: ErrorGroup, is_said: bool) -> None:
    assert bool(said(errors=[found])) is is_said


def test_says_no_more_of_an_error_once_none_of_its_jobs_is_left() -> None:
    assert said(errors=[group()])
    assert said(errors=[group()], mended=[group().id]) == []


def test_says_that_a_worker_is_silent() -> None:
    assert said(workers=[worker(), worker(state=WorkerState.SILENT)]) == ["The worker dock:7 is silent"]


@pytest.mark.parametrize(("age", "is_said"), [(60.0, False), (61.0, True)])
def test_says_that_the_numbers_are_old(age: float, is_said: bool) -> None:
    assert bool(said(stats=counted(age=age))) is is_said
    assert said(stats=counted(age=age), is_counting=False) == []


def test_says_that_nothing_was_counted() -> None:
    assert said(stats=Stats("1h", 60)) == ["Nothing has been counted yet"]


def test_says_that_a_queue_is_paused_with_jobs_due() -> None:
    assert said(queues=[queue(paused=True), queue("bulk", 0, paused=True)], workers=[worker()]) == [
        "The queue mail is paused, and 3 jobs of it are due"
    ]


def test_says_the_worst_first() -> None:
    found = notices(Facts(NOW, [queue(paused=True), queue("bulk")], [], [group()], counted(), 1.0))

    assert [notice.level for notice in found] == sorted(notice.level for notice in found)
    assert found[0].level is Level.BAD
    assert found[-1].level is Level.NOTE
