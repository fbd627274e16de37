"""Notices on the memory of workers and on isolated processes that die. They ..."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from app.web.attention.notice import Notice
from app.web.attention.notices import Facts, notices
from app.web.lists.fleet import Fleet
from haulier.domain.vitals import FULL, KILLED, IsolatedEnds, Vitals
from haulier.domain.worker import WorkerState
from haulier.queue.health.ended_workers import EndedWorker
from haulier.queue.health.worker_list import Worker
from haulier.queue.numbers.stats import Figures, Live, Queue

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)
MB = 1024 * 1024
GROWS = {"memory": 70 * MB, "usual_memory": 44 * MB, "is_growing": True, "grew_with": ["mail"]}


def worker(pid: int = 7, queues: tuple[str, ...] | None = None, **vitals: Any) -> Worker:
    of = {"id": uuid4(), "host": "dock", "pid": pid, "version": "1", "release": None, "threads": 4, "queues": queues}
    times = {"started_at": NOW, "beat_at": NOW, "lease_ends": NOW}
    state = {"kinds": (), "state": WorkerState.WORKING, "scans_fail": False, "running": 0, "lives": True, "takes": True}
    return Worker(**of, **times, **state, vitals=Vitals(**vitals))


def said(*workers: Worker, ended: list[EndedWorker] | None = None) -> list[Notice]:
    return notices(Facts(NOW, fleet=Fleet(workers), ended=ended or []))


def test_name_a_worker_that_keeps_growing_and_the_kinds_that_ran_there() -> None:
    [notice] = said(worker(memory=44 * MB, usual_memory=44 * MB), worker(8, **GROWS))

    assert notice.what == "Worker dock:8 keeps growing: 70 MB of memory, usually 44 MB"
    assert notice.more.startswith("While it grew it ran mail. ")
    assert [action.endpoint for action in notice.actions] == ["workers.one"]


def test_name_all_growing_workers_in_one_notice_the_largest_first() -> None:
    small, large, dead = worker(7, **GROWS), worker(8, **{**GROWS, "memory": 90 * MB}), worker(9, **GROWS)

    [notice] = said(small, large, replace(dead, lives=False))

    assert notice.what == "The memory of 2 workers keeps growing"
    assert [line.text.split()[1] for line in notice.lines] == ["dock:8", "dock:7"]


def test_add_up_isolated_processes_that_die_on_all_workers() -> None:
    one = worker(7, ends=[IsolatedEnds("resize", KILLED, 2), IsolatedEnds("pdf", "exited with code 1", 2)])
    other = worker(8, ends=[IsolatedEnds("resize", KILLED, 1), IsolatedEnds("resize", FULL, 1)])

    [notice] = said(one, other)

    assert notice.what == "Isolated processes of resize died 4 times in the last hour (3 killed by SIGKILL)"
    assert notice.more.startswith("Probably the machine was out of memory.")
    assert [notice.what for notice in said(one)] == []


def test_list_the_kinds_whose_isolated_processes_die() -> None:
    [notice] = said(worker(ends=[IsolatedEnds("resize", FULL, 3), IsolatedEnds("pdf", FULL, 5)]))

    assert notice.what == "Isolated processes of 2 kinds died 8 times in the last hour"
    assert [line.text.split()[3] for line in notice.lines] == ["pdf", "resize"]
    assert "ISOLATED_MEMORY_MB" in notice.more


def test_say_once_that_no_worker_is_left_and_name_each_in_its_lines() -> None:
    at = NOW - timedelta(minutes=9)
    silent = [replace(worker(pid), state=WorkerState.SILENT, started_at=at) for pid in (7, 8)]
    lost = [EndedWorker(uuid4(), "gone", 1, at, at, "buried", at, at, None)]
    due = Queue("mail", Live(5, 3, 0, 1.0), Figures(), NOW)
    lines = ["2 workers are silent: dock:7, dock:8", "Worker gone:1 stopped responding in the last hour"]

    def told(*workers: Worker, queue: Queue = due) -> list[tuple[str, list[str]]]:
        found = notices(Facts(NOW, [queue], Fleet(workers), ended=lost))
        return [(notice.what, [line.text for line in notice.lines]) for notice in found]

    assert told(*silent) == [("3 jobs are due, but no worker responds", lines)]
    dead = [replace(each, lives=False) for each in silent]
    assert told(*dead) == [("3 jobs are due, but no worker is running", lines)]
    # The workers were to count what is due.
    unknown = replace(due, counted_at=NOW - timedelta(minutes=1))
    assert told(*silent, queue=unknown) == [("No worker responds", lines)]
    assert told() == [("3 jobs are due, but no worker is running", lines[1:])]
    # While one still beats, others are notices of their own.
    assert [what for what, _ in told(*silent, replace(worker(), started_at=at))] == lines


def test_forget_lost_workers_once_others_have_come_in_their_places() -> None:
    at = NOW - timedelta(minutes=9)
    lost = [EndedWorker(uuid4(), "gone", pid, at, at, "buried", at, at, None, 7) for pid in (1, 2, 3)]
    left = "Worker gone:2 stopped responding in the last hour"
    mail, before = worker(queues=("mail",)), replace(worker(), started_at=at - timedelta(minutes=1))

    one_of_two = said(worker(), mail, before, ended=lost[:2])

    assert [notice.what for notice in one_of_two] == [left]
    assert one_of_two[0].more.endswith("Other workers took over 7 jobs.")
    assert [dict(action.given)["_anchor"] for action in one_of_two[0].actions] == ["taken-over"]
    assert said(worker(), worker(), ended=lost[:2]) == []
    # The loss of the one that came is told, not that of the one before it.
    silent = replace(worker(), state=WorkerState.SILENT)
    assert [notice.what for notice in said(silent, before, ended=lost[:1])] == ["Worker dock:7 is silent"]
    came = replace(lost[1], started_at=NOW, beat_at=NOW, missed_at=NOW + timedelta(seconds=10))
    assert [notice.what for notice in said(before, ended=[lost[0], came])] == [left]
    # Three within the hour are no accident.
    assert [notice.what[:9] for notice in said(worker(), worker(), worker(), ended=lost)] == ["3 workers"]
