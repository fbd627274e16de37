"""What needs attention, rule by rule, on both sides of each edge: it ..."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.web.attention import Facts, Level, notices
from app.web.fleet import Fleet
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.domain.worker import WorkerState
from haulier.queue.produce.errors import ErrorGroup
from haulier.queue.produce.recent import Minute
from haulier.queue.produce.running import RunningJob
from haulier.queue.produce.schedule_health import Overdue
from haulier.queue.produce.stats import Figures, Live, Queue, Stats
from haulier.queue.produce.workers import EndedWorker, Worker

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)


def said(**known: Any) -> list[str]:
    return [notice.what for notice in notices(Facts(NOW, **known))]


def queue(name: str = "mail", due: int | None = 3, *, paused: bool = False, oldest: float = 1.0) -> Queue:
    return Queue(name, Live(5, due, 0, oldest), Figures(), NOW, paused)


def minutes(*dues: int | None, failed: int = 0, succeeded: int = 0) -> list[Minute]:
    return [Minute(NOW + timedelta(minutes=place), succeeded, failed, due) for place, due in enumerate(dues)]


def worker(*queues: str, state: WorkerState = WorkerState.WORKING, lives: bool = True, takes: bool = True) -> Worker:
    return Worker(
        uuid4(), "dock", 7, "1", 4, queues or None, (), state, NOW, NOW, NOW, False, 0, lives, lives and takes
    )


def counted(age: float = 10.0) -> Stats:
    return Stats("1h", 60, NOW - timedelta(seconds=age), NOW)


def group(failed: int = 10, *, age: timedelta = timedelta(minutes=59), muted: timedelta | None = None) -> ErrorGroup:
    until = None if muted is None else NOW + muted
    return ErrorGroup(7, "mail", "no luck", None, None, NOW - age, NOW, failed, 0, until)


def test_says_nothing_of_what_is_not_known() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("queues", "workers", "what"),
    [
        ([queue()], [], ["3 jobs are due, and no worker lives"]),
        ([queue(due=1)], [worker(state=WorkerState.SILENT, lives=False)], ["1 job is due, and no worker lives"]),
        ([queue(due=1)], [worker(takes=False)], ["1 job is due, and no worker takes any"]),
        (
            [queue()],
            [worker("bulk"), worker(takes=False)],
            ["No live worker serves the queue mail, where 3 jobs are due"],
        ),
        (
            [queue(name) for name in ("a", "b", "c", "d", "mail")],
            [worker("mail")],
            ["No live worker serves the queues a, b, c and 1 more, where 12 jobs are due"],
        ),
        ([queue(due=0)], [], []),
        ([queue(due=None)], [], []),
        ([queue()], [worker()], []),
        ([queue()], [worker("mail")], []),
        ([queue()], [worker("bulk")], ["No live worker serves the queue mail, where 3 jobs are due"]),
        ([queue()], None, []),
    ],
)
def test_says_that_nobody_serves_what_is_due(queues: Any, workers: Any, what: list[str]) -> None:
    fleet = None if workers is None else Fleet(workers)
    told = said(queues=queues, fleet=fleet)

    assert [each for each in told if "silent" not in each] == what


@pytest.mark.parametrize(
    ("counted", "fleet", "unserved", "what"),
    [
        # Beyond those that were looked at there may be one that serves it.
        (NOW, Fleet([worker("bulk")], more=True), [], []),
        (
            NOW,
            Fleet([worker("bulk")], more=True),
            ["mail"],
            ["No live worker serves the queue mail, where 3 jobs are due"],
        ),
        # Another may live, which was not looked at or may not be seen.
        *(
            (NOW, each, ["mail"], ["No live worker serves the queue mail, where 3 jobs are due"])
            for each in (Fleet([], more=True), Fleet([], is_part=True))
        ),
        # What was counted long ago says nothing of now, and a look among the jobs says all.
        (NOW - timedelta(seconds=31), Fleet([]), [], []),
        (NOW - timedelta(seconds=31), Fleet([]), ["mail"], ["Jobs are due, and no worker lives"]),
        (NOW - timedelta(seconds=30), Fleet([]), [], ["3 jobs are due, and no worker lives"]),
        (None, Fleet([worker("bulk")]), ["mail"], ["No live worker serves the queue mail, where jobs are due"]),
        (NOW, Fleet([worker("bulk")]), ["mail", "z"], ["No live worker serves the queues mail, z, where jobs are due"]),
    ],
)
def test_goes_by_a_look_at_the_jobs_where_what_was_counted_cannot_say_it(
    counted: datetime | None, fleet: Fleet, unserved: list[str], what: list[str]
) -> None:
    it = replace(queue(), counted_at=counted)

    assert said(queues=[it], fleet=fleet, unserved=unserved) == what


@pytest.mark.parametrize(("days", "is_said"), [(2.9, True), (3.0, False), (-1.0, True)])
def test_says_that_the_partitions_end(days: float, is_said: bool) -> None:
    found = notices(Facts(NOW, days_ahead=days))

    assert [notice.level for notice in found] == [Level.BAD] * is_said


@pytest.mark.parametrize(
    ("it", "lately", "is_said"),
    [
        (queue(oldest=61.0), minutes(100, 300, 640, 980, 0), True),
        (queue(oldest=61.0), minutes(100, 300, 300, 980, 0), False),
        (queue(oldest=60.0), minutes(100, 300, 640, 980, 0), False),
        (queue(oldest=61.0), minutes(300, 640, 980, 0), False),
        (queue(oldest=61.0, paused=True, due=0), minutes(100, 300, 640, 980, 0), False),
    ],
)
def test_says_that_a_queue_grows(it: Queue, lately: list[Minute], is_said: bool) -> None:
    told = said(queues=[it, queue("bulk", 0)], minutes={"mail": lately})

    assert told == ["The queue mail grows by 340 a minute; its oldest job has been due for 1 min 1 s"] * is_said


@pytest.mark.parametrize(
    ("lately", "is_said"),
    [
        (minutes(0, failed=20, succeeded=179), True),
        (minutes(0, failed=20, succeeded=180), False),
        (minutes(0, failed=19), False),
    ],
)
def test_says_that_a_queue_fails_and_lets_it_be_paused(lately: list[Minute], is_said: bool) -> None:
    found = notices(Facts(NOW, queues=[queue(due=0)], minutes={"mail": lately}))

    told = [(each.level, each.what, [action.act for action in each.actions]) for each in found]
    what = "20 jobs in the queue mail failed for good in the last 10 minutes (10 %)"
    assert told == [(Level.BAD, what, ["", "queues.pause"])] * is_said


def test_says_of_several_queues_that_fail_in_one_notice_what_all_of_them_come_to() -> None:
    names = ["bulk", "hooks", "images", "mail", "well"]
    lately = {name: minutes(0, 0, failed=10, succeeded=10) for name in names[:4]} | {"well": minutes(0, succeeded=90)}
    found = notices(Facts(NOW, queues=[queue(name, due=0) for name in names], minutes=lately))

    what = "80 jobs in the queues bulk, hooks, images and 1 more failed for good in the last 10 minutes (50 %)"
    assert [(each.level, each.what) for each in found] == [(Level.BAD, what)]
    assert [action.endpoint for action in found[0].actions] == ["failures.show", "queues.show"]


@pytest.mark.parametrize(
    ("groups", "mended", "is_said"),
    [
        ([group(20)], [], True),
        ([group(20, age=timedelta(days=3))], [], True),
        ([group(20)], [7], False),
        ([group(20, muted=timedelta(hours=1))], [], False),
        ([group(9)], [7], True),
        ([group(20), replace(group(20), id=8)], [7], True),
        # Others fail the queue, each of which is rare.
        ([group(10, muted=timedelta(hours=1)), replace(group(9), id=8), replace(group(9), id=9)], [], True),
        ([], [], True),
    ],
)
def test_speaks_of_a_failing_queue_no_more_once_its_errors_were_seen_to(
    groups: list[ErrorGroup], mended: list[int], is_said: bool
) -> None:
    lately = {"mail": minutes(0, failed=20)}
    found = notices(Facts(NOW, queues=[queue(due=0)], minutes=lately, errors=groups, mended=mended))

    assert [each.level for each in found if "in the queue mail" in each.what] == [Level.BAD] * is_said


def test_says_that_something_could_not_be_looked_at() -> None:
    [notice] = notices(Facts(NOW, unread=["the database took longer than 300 ms"]))

    assert notice.what.startswith("Some checks could not be loaded.")
    assert notice.more == "The database took longer than 300 ms."


def test_says_that_jobs_run_past_their_timeout() -> None:
    job = RunningJob(uuid4(), "resize_image", "images", 1, 3, 5, NOW, False, uuid4(), "dock:7", 0, NOW)

    assert said(stuck=[job, job]) == ["2 jobs run past the timeout: resize_image"]


@pytest.mark.parametrize(
    ("how", "age", "is_said"), [("buried", 59, True), ("buried", 60, False), ("stopped", 1, False)]
)
def test_says_that_a_worker_was_lost(how: str, age: int, is_said: bool) -> None:
    ended = EndedWorker(uuid4(), "dock", 7, NOW - timedelta(minutes=age), how)

    assert said(ended=[ended]) == ["1 worker let the lease run out in the last hour: dock:7"] * is_said
    assert (
        said(ended=[ended] * 5)[:1]
        == ["5 workers let the lease run out in the last hour: dock:7, dock:7, dock:7 and 2 more"][: int(is_said)]
    )


@pytest.mark.parametrize(
    ("overdue", "is_said"),
    [
        (Overdue(2, 60.0, 1), True),
        (Overdue(2, 59.9, 1), False),
        (Overdue(0, 90.0, 1), False),
    ],
)
def test_says_that_schedules_do_not_fire(overdue: Overdue, is_said: bool) -> None:
    assert said(overdue=overdue) == ["2 schedules do not fire: the oldest tick is 1 min late"] * is_said


@pytest.mark.parametrize(
    ("workers", "more"),
    [
        (1, "The database refuses the jobs of 2 of them: their pages say why."),
        (0, "No worker lives that fires schedules: start one."),
    ],
)
def test_says_that_the_database_refuses_the_jobs_of_schedules(workers: int, more: str) -> None:
    [notice] = notices(Facts(NOW, overdue=Overdue(3, 90.0, workers, refused=2)))

    assert (notice.what, notice.more) == ("3 schedules do not fire: the oldest tick is 1 min 30 s late", more)


def test_says_that_the_jobs_of_a_schedule_fail() -> None:
    found = notices(Facts(NOW, failing_schedules={"nightly": 3, "hourly": 2}))

    assert [each.what for each in found] == ["The last 3 jobs or more failed of 1 schedule: nightly"]
    assert found[0].actions[0].given == (("name", "nightly"),)


def check(name: str, state: CheckState) -> Check:
    return Check(name, state, 1.0, Threshold("seconds"), f"{name} is {state}", "Jobs wait.", None)


@pytest.mark.parametrize(
    ("found", "levels"),
    [
        ([check("connections", CheckState.OK), check("vacuum", CheckState.UNKNOWN)], []),
        ([check("connections", CheckState.WARN)], [Level.WARN]),
        ([check("wraparound", CheckState.BAD)], [Level.BAD]),
        # A report that runs for six minutes is nobody's trouble, unless vacuum cannot keep up because of it.
        ([check("transactions", CheckState.WARN), check("vacuum", CheckState.OK)], []),
        ([check("transactions", CheckState.WARN), check("vacuum", CheckState.WARN)], [Level.WARN, Level.WARN]),
        ([check("transactions", CheckState.BAD), check("vacuum", CheckState.OK)], [Level.BAD]),
    ],
)
def test_says_that_the_database_is_not_well(found: list[Check], levels: list[Level]) -> None:
    assert [each.level for each in notices(Facts(NOW, checks=found))] == levels


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
    silent = worker(state=WorkerState.SILENT)

    assert said(fleet=Fleet([worker(), silent])) == ["The worker dock:7 is silent"]
    assert said(fleet=Fleet([silent] * 5)) == ["5 workers are silent: dock:7, dock:7, dock:7 and 2 more"]


@pytest.mark.parametrize(("lives", "has_run_out"), [([True], False), ([False], True), ([False, True], False)])
def test_says_of_silent_workers_whether_others_can_take_over_yet(lives: list[bool], has_run_out: bool) -> None:
    [notice] = notices(Facts(NOW, fleet=Fleet([worker(state=WorkerState.SILENT, lives=each) for each in lives])))

    assert ("has run out: another" in notice.more) is has_run_out


@pytest.mark.parametrize(("age", "is_said"), [(60.0, False), (61.0, True)])
def test_says_that_the_numbers_are_old(age: float, is_said: bool) -> None:
    assert bool(said(stats=counted(age))) is is_said
    assert said(stats=counted(age), is_counting=False) == ["Counting is off"]


def test_says_that_nothing_was_counted() -> None:
    assert said(stats=Stats("1h", 60)) == ["Nothing has been counted yet"]


@pytest.mark.parametrize(("since", "is_said"), [(timedelta(hours=1), False), (timedelta(hours=1, minutes=1), True)])
def test_says_that_a_queue_has_long_been_paused_with_jobs_due(since: timedelta, is_said: bool) -> None:
    queues = [queue(paused=True), queue("bulk", 0, paused=True), queue("well")]
    paused = [replace(each, paused_since=NOW - since) for each in queues]

    told = said(queues=paused, fleet=Fleet([worker()]))

    assert told == ["The queue mail has been paused for 1 h 1 min, and 3 jobs of it are due"] * is_said


def test_says_the_worst_first() -> None:
    found = notices(Facts(NOW, [queue("bulk")], Fleet([]), [group()], counted(age=90), 1.0))

    assert [notice.level for notice in found] == sorted(notice.level for notice in found)
    assert found[0].level is Level.BAD
    assert found[-1].level is Level.NOTE
