"""What needs attention, rule by rule, and how each queue is, in a word: on both sides of each edge. It ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from app.web.attention.known_facts import Facts
from app.web.attention.notice import Level
from app.web.attention.notices import notices
from app.web.lists.fleet import Fleet
from app.web.lists.queue_states import Known, empty_in, word_of
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.domain.worker import WorkerState
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.health.ended_workers import EndedWorker
from haulier.queue.health.worker_list import Worker
from haulier.queue.numbers.recent import Minute
from haulier.queue.numbers.stats import Figures, Live, Queue, Stats
from haulier.queue.schedules.schedule_health import Overdue, Skips
from haulier.queue.search.running import RunningJob
from tests.web.browsing import check_each

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_WORKER_SERVES_MAIL = ["3 jobs are due in queue mail, but no worker serves it"]


def said(**known: Any) -> list[str]:
    return [notice.what for notice in notices(Facts(NOW, **known))]


def queue(
    name: str = "mail",
    due: int | None = 3,
    *,
    oldest: float = 1.0,
    running: int = 0,
    came: int = 0,
    ended: int = 0,
    **more: Any,
) -> Queue:
    return Queue(name, Live(5, due, running, oldest), Figures(came, ended), NOW, **more)


def minutes(many: int = 1, *, failed: int = 0, succeeded: int = 0) -> list[Minute]:
    return [Minute(NOW + timedelta(minutes=place), succeeded, failed) for place in range(many)]


def worker(*queues: str, state: WorkerState = WorkerState.WORKING, lives: bool = True, takes: bool = True) -> Worker:
    return Worker(
        uuid4(), "dock", 7, "1", 4, queues or None, (), state, NOW, NOW, NOW, False, 0, lives, lives and takes
    )


def group(failed: int = 10, *, age: timedelta = timedelta(minutes=59), muted: timedelta | None = None) -> ErrorGroup:
    until = None if muted is None else NOW + muted
    return ErrorGroup(7, "mail", "no luck", None, None, NOW - age, NOW, failed, 0, until)


def ended(how: str, minutes: int, times: int = 1) -> list[EndedWorker]:
    at = NOW - timedelta(minutes=minutes)
    return [EndedWorker(uuid4(), "dock", 7, at, at, how, at, at, None)] * times


def stats(age: float) -> Stats:
    return Stats("1h", 60, NOW - timedelta(seconds=age), NOW)


def test_says_what_needs_attention_on_both_sides_of_each_edge() -> None:
    job = RunningJob(uuid4(), "resize_image", "images", 1, 3, 5, NOW, False, uuid4(), "dock:7", 0, NOW)
    fails = {"mail": minutes(failed=20, succeeded=179)}
    all_fail = {name: minutes(2, failed=10, succeeded=10) for name in ("bulk", "hooks", "images", "mail")}
    lost, pausing = "stopped responding in the last hour", [queue("bulk", 0, paused=True), queue("well")]
    since = [queue(paused=True, paused_since=NOW - timedelta(minutes=each)) for each in (60, 61)]
    late = "2 schedules are not firing: the oldest tick is 1 min late"
    check_each(
        lambda known: said(**known),
        ({}, []),
        ({"days_ahead": 3.0}, []),
        (
            {"queues": [queue(due=297_297, oldest=540.0, came=59, ended=7_871, is_late=True)]},
            ["Queue mail is late: 297,297 jobs are due, the oldest for 9 min; empty in about 38 min"],
        ),
        (
            {"queues": [queue(due=500, oldest=400.0, came=90, ended=30, is_late=True)]},
            ["Queue mail is late: 500 jobs are due, the oldest for 6 min 40 s; growing by 60/min"],
        ),
        (
            {"queues": [queue(name, oldest=400.0, is_late=True) for name in ("bulk", "mail")]},
            ["2 queues are late: bulk, mail. 6 jobs are due, the oldest for 6 min 40 s"],
        ),
        # Whoever serves the queue is the trouble then.
        ({"queues": [queue(oldest=400.0, is_late=True)], "fleet": Fleet([worker("bulk")])}, NO_WORKER_SERVES_MAIL),
        (
            {"queues": [queue(due=0)], "minutes": fails},
            ["20 jobs in queue mail failed in the last 10 minutes (10 %)"],
        ),
        (
            {"queues": [queue(name, due=0) for name in all_fail], "minutes": all_fail},
            ["80 jobs in queues bulk, hooks, images and 1 more failed in the last 10 minutes (50 %)"],
        ),
        ({"stuck": [job, job]}, ["2 jobs are past the timeout: resize_image"]),
        ({"ended": ended("buried", 59)}, [f"Worker dock:7 {lost}"]),
        ({"ended": ended("buried", 59, 5)}, [f"5 workers {lost}: dock:7, dock:7, dock:7 and 2 more"]),
        ({"ended": [*ended("buried", 60), *ended("stopped", 1)]}, []),
        ({"overdue": Overdue(2, 60.0, 1)}, [late]),
        ({"overdue": Overdue(2, 59.9, 1)}, []),
        ({"overdue": Overdue(0, 90.0, 1)}, []),
        (
            {"failing_schedules": {"nightly": 3, "hourly": 2}},
            ["The last 3 jobs of schedule nightly failed"],
        ),
        (
            {"failing_schedules": {"nightly": 3, "hourly": 4}},
            ["The last 3 jobs of 2 schedules failed: nightly, hourly"],
        ),
        (
            {"skipping": [Skips("nightly", 7, 10)]},
            ["Schedule nightly skipped 7 of its last 10 ticks: the previous run was still going"],
        ),
        (
            {"skipping": [Skips("nightly", 7, 10), Skips("hourly", 3, 4)]},
            ["2 schedules skip ticks: their previous runs are still going"],
        ),
        ({"stats": stats(60)}, []),
        ({"stats": stats(61)}, ["The figures are 1 min 1 s old"]),
        ({"stats": Stats("1h", 60)}, ["Nothing has been counted yet"]),
        ({"stats": stats(60), "is_counting": False}, ["Counting is off"]),
        ({"queues": [since[0], *pausing], "fleet": Fleet([worker()])}, []),
        (
            {"queues": [since[1], *pausing], "fleet": Fleet([worker()])},
            ["Queue mail has been paused for 1 h 1 min; 3 jobs are due"],
        ),
    )


def test_says_more_of_a_notice_and_what_to_do() -> None:
    def told(**known: Any) -> tuple[Level, str, list[str]]:
        [notice] = notices(Facts(NOW, **known))
        return notice.level, notice.more, [action.act or action.endpoint for action in notice.actions]

    fails = {"mail": minutes(failed=20, succeeded=179)}
    assert [told(days_ahead=days)[0] for days in (2.9, -1.0)] == [Level.BAD] * 2
    level, _, acts = told(queues=[queue(due=0)], minutes=fails)
    assert (level, acts[1]) == (Level.BAD, "queues.pause")
    assert told(unread=["the database took too long"])[1] == "The database took too long."
    refused = "The database refuses the jobs of 2 of them. See their pages for the reason."
    assert told(overdue=Overdue(2, 60.0, 1))[1] == "See the workers' logs for their names."
    assert told(overdue=Overdue(2, 60.0, 1, refused=2))[1] == refused
    assert told(overdue=Overdue(2, 60.0, 0, refused=2))[1] == "Start a worker that fires schedules."


def test_names_jobs_that_are_due_and_that_no_worker_takes() -> None:
    five = [queue(name) for name in ("a", "b", "c", "d", "mail")]
    dead = worker(state=WorkerState.SILENT, lives=False)

    def unserved(queues: list[Queue], workers: list[Worker] | None) -> list[str]:
        told = said(queues=queues, fleet=None if workers is None else Fleet(workers))
        return [each for each in told if "silent" not in each]

    check_each(
        unserved,
        ([queue()], [], ["3 jobs are due, but no worker is running"]),
        ([queue(due=1)], [dead], ["1 job is due, but no worker is running"]),
        ([queue(due=1)], [worker(takes=False)], ["1 job is due, but no worker takes jobs"]),
        ([queue()], [worker("bulk"), worker(takes=False)], NO_WORKER_SERVES_MAIL),
        (five, [worker("mail")], ["12 jobs are due in queues a, b, c and 1 more, but no worker serves them"]),
        ([queue(due=0)], [], []),
        ([queue(due=None)], [], []),
        ([queue()], [worker()], []),
        ([queue()], [worker("mail")], []),
        ([queue()], None, []),
    )


def test_goes_by_a_look_at_the_jobs_if_the_counts_cannot_tell() -> None:
    bulk = Fleet([worker("bulk")])

    def unserved(counted_at: datetime | None, fleet: Fleet, queues: list[str]) -> list[str]:
        return said(queues=[replace(queue(), counted_at=counted_at)], fleet=fleet, unserved=queues)

    check_each(
        unserved,
        # Beyond the workers that were looked at, one may serve it.
        (NOW, Fleet([worker("bulk")], more=True), [], []),
        (NOW, Fleet([worker("bulk")], more=True), ["mail"], NO_WORKER_SERVES_MAIL),
        # Another may live, which was not looked at or may not be seen.
        (NOW, Fleet([], more=True), ["mail"], NO_WORKER_SERVES_MAIL),
        (NOW, Fleet([], is_part=True), ["mail"], NO_WORKER_SERVES_MAIL),
        # What was counted long ago says nothing of now, and a look among the jobs says all.
        (NOW - timedelta(seconds=30), Fleet([]), [], ["3 jobs are due, but no worker is running"]),
        (NOW - timedelta(seconds=31), Fleet([]), [], []),
        (NOW - timedelta(seconds=31), Fleet([]), ["mail"], ["Jobs are due, but no worker is running"]),
        (None, bulk, ["mail"], ["Jobs are due in queue mail, but no worker serves it"]),
        (NOW, bulk, ["mail", "z"], ["Jobs are due in queues mail, z, but no worker serves them"]),
    )


def test_says_that_a_queue_fails_until_its_errors_were_retried_or_muted() -> None:
    other, muted = replace(group(20), id=8), group(10, muted=HOUR)

    def is_said(errors: list[ErrorGroup], mended: list[int]) -> bool:
        lately = {"mail": minutes(failed=20)}
        found = said(queues=[queue(due=0)], minutes=lately, errors=errors, mended=mended)
        return any("in queue mail failed" in each for each in found)

    check_each(
        is_said,
        ([group(20)], [], True),
        ([group(20, age=timedelta(days=3))], [], True),
        ([group(20)], [7], False),
        ([group(20, muted=HOUR)], [], False),
        ([group(9)], [7], True),
        ([group(20), other], [7], True),
        # Others fail the queue, each of which is rare.
        ([muted, replace(group(9), id=8), replace(group(9), id=9)], [], True),
        ([], [], True),
    )


def test_makes_one_notice_of_a_bad_deploy() -> None:
    errors = [replace(group(30 - number), id=number, text=f"Error{number}", seen_in=("mail",)) for number in range(7)]
    elsewhere = [replace(group(12), id=9, text="Odd", seen_in=("bulk",)), replace(group(11), id=10, seen_in=())]

    found = notices(
        Facts(NOW, queues=[queue(due=0)], minutes={"mail": minutes(failed=200)}, errors=[*errors, *elsewhere])
    )

    assert [each.what for each in found] == [
        "200 jobs in queue mail failed in the last 10 minutes (100 %)",
        "2 new errors in mail",
    ]
    assert [line.text for line in found[0].lines] == [
        *(f"New error in mail: {30 - number} jobs failed. Error{number}" for number in range(5)),
        "and 2 more",
    ]
    assert [act.label for act in found[0].actions] == ["Look", "Pause…", "Retry all…"]
    assert [line.actions[0].given for line in found[1].lines] == [(("error_id", each.name),) for each in elsewhere]


def test_makes_one_notice_of_several_forgotten_pauses() -> None:
    names = [f"queue-{number}" for number in range(7)]

    [found] = notices(Facts(NOW, queues=[queue(name, paused=True, paused_since=NOW - 3 * HOUR) for name in names]))

    assert found.what == "7 queues have been paused for over 1 h"
    assert found.lines[0].text == "Queue queue-0 has been paused for 3 h; 3 jobs are due"
    assert [(act.label, act.at_once) for act in found.lines[0].actions] == [("Resume", True), ("Queue", False)]
    assert [line.text for line in found.lines[5:]] == ["and 2 more"]


HELD = ("transactions", "vacuum")


def test_says_that_the_database_is_not_well() -> None:
    def levels(**states: CheckState) -> list[Level]:
        checks = [
            Check(name, state, 1.0, Threshold("seconds"), f"{name} is {state}", "Jobs wait.", None)
            for name, state in states.items()
        ]
        return [each.level for each in notices(Facts(NOW, checks=checks))]

    ok, warn, bad = CheckState.OK, CheckState.WARN, CheckState.BAD
    assert levels(connections=ok, vacuum=CheckState.UNKNOWN) == []
    assert levels(connections=warn) == [Level.WARN]
    assert levels(wraparound=bad) == [Level.BAD]
    # A report that runs for six minutes is no trouble unless vacuum cannot keep up because of it.
    assert levels(transactions=warn, vacuum=ok) == []
    # It is one incident, with the dead rows that it causes.
    assert levels(transactions=warn, vacuum=warn) == [Level.WARN]
    assert levels(transactions=warn, vacuum=bad) == [Level.BAD]
    assert levels(vacuum=warn) == [Level.WARN]
    assert levels(transactions=bad, vacuum=ok) == [Level.BAD]
    # Nobody means to leave one open and do nothing.
    assert levels(idle_transactions=warn, vacuum=ok) == [Level.WARN]
    assert levels(idle_transactions=warn, vacuum=warn) == [Level.WARN]
    checks = [Check(name, warn, 1.0, Threshold("seconds"), f"the {name}", "Jobs wait.", None) for name in HELD]
    # Autovacuum has not had the time to come yet, unless something holds it back.
    soon = [notices(Facts(NOW, checks=of, vacuum_is_due=True)) for of in (checks, checks[1:])]
    assert [len(each) for each in soon] == [1, 0]
    assert [each.more for each in notices(Facts(NOW, checks=checks))] == ["The vacuum. Jobs wait."]


def test_says_that_an_error_is_new_while_jobs_of_it_are_left() -> None:
    def is_said(error: ErrorGroup, mended: Sequence[int] = ()) -> bool:
        return bool(said(errors=[error], mended=mended))

    check_each(
        is_said,
        (group(), True),
        (group(), [7], False),
        (group(9), False),
        (group(age=HOUR), False),
        (group(muted=HOUR), False),
        (group(muted=-HOUR), True),
    )


def test_names_silent_workers_and_says_whether_others_can_take_over() -> None:
    lives, dead = (worker(state=WorkerState.SILENT, lives=each) for each in (True, False))

    def told(*silent: Worker) -> tuple[str, bool]:
        [notice] = notices(Facts(NOW, fleet=Fleet([worker(), *silent])))
        return notice.what, "has run out." in notice.more

    assert told(lives) == ("Worker dock:7 is silent", False)
    assert told(dead) == ("Worker dock:7 is silent", True)
    assert told(dead, lives) == ("2 workers are silent: dock:7, dock:7", False)
    assert told(*[dead] * 5) == ("5 workers are silent: dock:7, dock:7, dock:7 and 2 more", True)


def test_says_the_worst_first() -> None:
    old = Stats("1h", 60, NOW - timedelta(seconds=90), NOW)

    levels = [each.level for each in notices(Facts(NOW, [queue("bulk")], Fleet([]), [group()], old, 1.0))]

    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (Level.BAD, Level.NOTE)


# A queue whose oldest job has been due for over a minute.
late = partial(queue, "mail", oldest=61.0)


def test_says_in_a_word_how_a_queue_is() -> None:
    def word(it: Queue, workers: list[Worker] | None, lately: list[Minute]) -> str:
        return word_of(it, Known(NOW, None if workers is None else Fleet(workers), {"mail": lately})).text

    check_each(
        word,
        (late(9, paused=True), [], [], "Paused"),
        (late(9), [], [], "Unserved"),
        (late(9), [worker("other")], [], "Unserved"),
        (late(9), [worker("mail", takes=False)], [], "Unserved"),
        (late(9), [worker("mail")], [], "OK"),
        (late(9), None, [], "OK"),
        (late(0), [], [], "Idle"),
        (late(0, running=1), [worker()], [], "OK"),
        (late(9), [worker()], minutes(failed=20, succeeded=179), "Failing"),
        (late(9), [worker()], minutes(failed=20, succeeded=180), "OK"),
        (late(9), [worker()], minutes(failed=19), "OK"),
        (late(9, is_late=True), [worker()], [], "Late"),
        (late(9, is_late=True), [], [], "Unserved"),
    )


def test_calls_a_queue_failing_if_it_fails_far_more_than_usually() -> None:
    def word(usual: float, failed: int) -> str:
        lately = {"mail": minutes(failed=failed, succeeded=1000 - failed)}
        return word_of(late(9), Known(NOW, Fleet([worker()]), lately, usual={"mail": usual})).text

    check_each(
        word,
        (0.02, 101, "Failing"),
        (0.03, 150, "OK"),
        (0.03, 151, "Failing"),
        (0.12, 561, "Failing"),
        # Five times as much is more than all.
        (0.5, 750, "OK"),
        (0.5, 751, "Failing"),
    )


def test_estimates_when_a_queue_is_empty() -> None:
    check_each(
        empty_in,
        (late(99, oldest=60.0), "seconds"),
        (late(0), "seconds"),
        # Few late jobs that do not become fewer are not gone in seconds.
        (late(9, came=5, ended=5), "not draining"),
        (late(9, ended=9), "1 min"),
        (late(400, came=20, ended=120), "4 min"),
        (late(400, came=440, ended=100), "growing by 340/min"),
        (late(None), "–"),
        (late(400, ended=400, paused=True), "–"),
    )
