"""Operations in any order with everything else: preview, start, cancel, resume, and chunks by two who work them off."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from haulier.domain.errors import OperationConflict, TooManyOperations
from haulier.domain.operation import ACTS_ON, OperationAction
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order
from haulier.queue.operations.work_off import Pace, Worker, work_off
from haulier.queue.search.job_filter import JobFilter
from tests.model.choosing import has, one_of
from tests.model.claiming import Claiming
from tests.model.ledger import Entry
from tests.model.parties import Operated, Previewed
from tests.model.world import ALL_JOBS

# Two who work operations off; one keeps its turn between chunks, as a worker does, the other not, as whoever watches.
WORKERS = (Worker(uuid4(), 1000.0, 1000.0), Worker(uuid4(), 1000.0, 0.0))
CHANGES = ({"priority": 1}, {"queue": "bulk"}, {"queue": "default", "priority": 0, "delay_seconds": 0})
# More than any operation needs.
MOST_CHUNKS = 300
# How many operations of one API key may be unfinished.
MOST_OF_ONE_ACTOR = 20

actions = st.sampled_from(OperationAction)
filters = st.sampled_from([JobFilter(), JobFilter(), JobFilter(queues=["default"]), JobFilter(queues=["bulk"])])


class Operating(Claiming):
    """An operator who acts on all jobs of a filter, and those who work that off."""

    # Both, as most of what can go wrong needs operations, and needs something to happen after their preview.
    @rule(action=actions, wanted=filters, changes=st.sampled_from(CHANGES))
    def operate(self, action: OperationAction, wanted: JobFilter, changes: dict[str, Any]) -> None:
        """Preview an operation and start it."""
        self.preview(action, wanted, changes)
        self.start_operation(self.previews[-1])

    @rule(action=actions, wanted=filters, changes=st.sampled_from(CHANGES))
    def operate_again(self, action: OperationAction, wanted: JobFilter, changes: dict[str, Any]) -> None:
        self.operate(action, wanted, changes)

    @rule(action=actions, wanted=filters, changes=st.sampled_from(CHANGES))
    def preview(self, action: OperationAction, wanted: JobFilter, changes: dict[str, Any]) -> None:
        order = Order(action, wanted, changes=changes if action is OperationAction.CHANGE else {})
        meant = {job.id for job in self.ledger.jobs.values() if _is_meant(order, job)}

        seen = ops.preview(self.conn, order)

        assert (seen.matched, str(seen.matched_is)) == (len(meant), "exact")
        versions = {row["id"]: row["version"] for row in self.world.sql(ALL_JOBS) if row["id"] in meant}
        self.previews = [*self.previews[-2:], Previewed(order, seen, versions)]

    @has(lambda self: self.previews)
    @rule(of=one_of(lambda self: self.previews))
    def start_operation(self, of: Previewed) -> None:
        if len(self.open_operations()) >= MOST_OF_ONE_ACTOR:
            with pytest.raises(TooManyOperations):
                ops.start(self.conn, of.order, as_of=of.preview.as_of, actor="Ann")
            return

        started = ops.start(self.conn, of.order, as_of=of.preview.as_of, actor="Ann")

        operation = Operated(len(self.operations) + 1, started.id, of)
        self.operations.append(operation)
        self.ledger.record.append(("operate", str(started.id)))
        self._is_as_it_has_to_be(operation, started)

    # Twice, as most of what can go wrong needs some that are under way.
    @has(lambda self: self.open_operations())
    @rule(by=st.sampled_from(WORKERS), most_jobs=st.integers(1, 3))
    def work_off_again(self, by: Worker, most_jobs: int) -> None:
        self._work_off(by, most_jobs)

    @has(lambda self: self.open_operations())
    @rule(by=st.sampled_from(WORKERS), most_jobs=st.integers(1, 3))
    def work_off(self, by: Worker, most_jobs: int) -> None:
        """Do a chunk of whatever is due: to jobs that were previewed and are as they were then, and to each once."""
        self._work_off(by, most_jobs)

    def _work_off(self, by: Worker, most_jobs: int) -> bool:
        before = {row["id"]: row["version"] for row in self.world.sql(ALL_JOBS)}
        had = {operation.id: self._stored(operation) for operation in self.operations}

        is_done = work_off(self.conn, by, most_jobs=most_jobs, pace=Pace(2, lambda: True))

        after = {row["id"]: row["version"] for row in self.world.sql(ALL_JOBS)}
        touched = {job_id for job_id in {*before, *after} if before.get(job_id) != after.get(job_id)}
        worked = [each for each in self.operations if self._stored(each) != had[each.id]]
        assert is_done in (True, None)
        assert len(worked) <= 1, "more than one is worked on at a time"
        if not worked:
            assert touched == set(), "acted for no operation"
            return bool(is_done)
        [operation] = worked
        self._act(operation, touched, before)
        return True

    def _act(self, operation: Operated, touched: set[UUID], before: dict[UUID, str]) -> None:
        of = operation.of
        assert operation.is_open, "goes on after its end"
        assert len(touched) <= 3, "more than a chunk"
        assert touched & (operation.acted | self.locked) == set(), "twice, or on what somebody holds"
        assert {job_id: before.get(job_id) for job_id in touched} == {
            job_id: of.versions.get(job_id, "not previewed") for job_id in touched
        }
        operation.acted |= touched
        operation.was_locked |= self.locked
        for job_id in touched:
            self._do(of.order, self.ledger.jobs[job_id])
        now = ops.get_operation(self.conn, operation.id)
        operation.is_begun, operation.status = True, "done" if now.status == "done" else "running"
        self._is_as_it_has_to_be(operation, now)
        if operation.status == "done":
            self._has_left_none_out(operation, now)

    def _do(self, order: Order, job: Entry) -> None:
        if order.action is OperationAction.CANCEL:
            assert self.ledger.cancel(job, on_record=False) is not None
        elif order.action is OperationAction.RETRY:
            self.may_live_again.add(job.id)
            assert self.ledger.retry(job, on_record=False)
        elif order.action is OperationAction.DELETE:
            assert self.ledger.delete(job, on_record=False)
        else:
            to: dict[str, Any] = {"queue": job.queue, "priority": job.priority, **order.changes}
            delay = to.get("delay_seconds")
            assert self.ledger.change(job, to["queue"], to["priority"], delay, on_record=False)

    @has(lambda self: self.operations)
    @rule(operation=one_of(lambda self: self.open_operations() * 2 + self.operations))
    def cancel_operation(self, operation: Operated) -> None:
        try:
            ended = ops.cancel_operation(self.conn, operation.id, actor="Ann")
        except OperationConflict:
            assert not operation.is_open
        else:
            assert operation.is_open
            operation.status = "cancelled"
            self.ledger.record.append(("cancel_operation", str(operation.id)))
            self._is_as_it_has_to_be(operation, ended)

    @has(lambda self: self.operations)
    @rule(operation=one_of(lambda self: self.operations))
    def resume_operation(self, operation: Operated) -> None:
        try:
            resumed = ops.resume_operation(self.conn, operation.id, actor="Ann")
        except OperationConflict:
            assert operation.status != "cancelled"
        else:
            assert operation.status == "cancelled"
            operation.status = "running" if operation.is_begun else "waiting"
            self.ledger.record.append(("resume_operation", str(operation.id)))
            self._is_as_it_has_to_be(operation, resumed)

    def open_operations(self) -> list[Operated]:
        return [operation for operation in self.operations if operation.is_open]

    def _stored(self, operation: Operated) -> tuple[Any, ...]:
        """Return what a chunk moves on."""
        [row] = self.world.sql(
            "SELECT done, skipped, failed, status, cursor_id, walked_at FROM haulier.operation WHERE id = %(id)s",
            id=operation.id,
        )
        return tuple(row.values())

    @staticmethod
    def _is_as_it_has_to_be(operation: Operated, now: Operation) -> None:
        assert (str(now.status), now.done, now.failed) == (operation.status, len(operation.acted), 0)
        assert now.matched == len(operation.of.versions)
        assert now.as_of == operation.of.preview.as_of

    def _has_left_none_out(self, operation: Operated, now: Operation) -> None:
        assert now.done + now.skipped == now.matched
        present = {row["id"]: row["version"] for row in self.world.sql(ALL_JOBS)}
        as_previewed = {job_id for job_id, version in operation.of.versions.items() if present.get(job_id) == version}
        assert as_previewed <= operation.was_locked | operation.acted, "left out what could be acted on"

    def _end_operations(self) -> None:
        """Work off whatever is open; if nothing is due, let time pass: each must end."""
        self._unlock()
        for _ in range(MOST_CHUNKS):
            if not self.open_operations():
                return
            if not self._work_off(WORKERS[0], 3):
                self.pass_time(1, are_beating=True)
            self.every_row_is_as_the_ledger_has_it()
        raise AssertionError("operations that nobody can work off")


def _is_meant(order: Order, job: Entry) -> bool:
    return job.status in ACTS_ON[order.action] and (order.filter.queues is None or job.queue in order.filter.queues)
