"""Work operations off, a chunk of jobs at a time: a worker does, or whoever watches if none lives.

Several may try at once: one chunk is under way at a time. Its jobs are looked for, and then done in steps. A step is
one transaction, in which the operation's cursor and counts continue; whoever dies before its end has done nothing of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable, Refusal, reason
from haulier.domain.operation import MatchedIs, OperationAction
from haulier.postgres.errors import sqlstate, translated
from haulier.postgres.statements import Connection, Row, bounded, rows, transaction_of
from haulier.postgres.values import utc
from haulier.queue.operations.operation_step import Step, perform
from haulier.queue.operations.stored_filter import from_stored
from haulier.queue.search.bounded_scan import sent_with
from haulier.queue.search.find_ids import CountByKind, Found, count_by_kind, find_jobs
from haulier.queue.search.job_filter import JobFilter

# A chunk is at most this many jobs, and not much more than this many bytes of payloads.
MOST_JOBS, MOST_BYTES = 1_000, 4 * 2**20
# An outage is waited for as long as it lasts. After this long one job at a time is done, and one that takes more time
# or memory than a statement may is skipped: a job of 200 MB must not keep all others waiting.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Who works an operation off. Units: lease_seconds is for how long nobody else does, should this one die."""

    id: UUID
    lease_seconds: float
    # After the chunk; less if it is the only one.
    kept_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How a chunk is done. `rest` comes before each step, and says whether to continue."""

    step: int
    rest: Callable[[], bool]


AT_ONCE = Pace(MOST_JOBS, lambda: True)
# Count before the first step what the preview could not, for at most this long: then it is known how many percent are
# done.
COUNT_SECONDS = 2.0
# What a statement is refused with if a job is too large for it.
TOO_MUCH = (sqlstate.QueryCanceled, sqlstate.OutOfMemory)


def work_off(
    conn: Connection, by: Worker, *, most_jobs: int = MOST_JOBS, only: UUID | None = None, pace: Pace = AT_ONCE
) -> bool | None:
    """Do a chunk of the operation whose turn it is, or of this one.

    None if there is nothing to do now, or somebody else does it. False if the database refused a step, which the
    operation then notes; it is retried later. After the fifth time it has failed, but for refusals that may pass:
    these it waits for.
    """
    for taken in _take(conn, by, most_jobs, only):
        try:
            with translated():
                _do(conn, by, taken, most_jobs, pace)
        except Refusal as error:
            _delay(conn, by, taken, reason(error), may_pass=error.may_pass)
            return False
        except DatabaseUnavailable:
            raise
        except Exception as error:
            # A bug, or a filter that no program of ours has written: it must not keep all other operations waiting.
            _delay(conn, by, taken, f"{type(error).__name__}: {reason(error)}", may_pass=False)
            raise
        return True
    return None


def _take(conn: Connection, by: Worker, most_jobs: int, only: UUID | None) -> list[Row]:
    asked: dict[str, Any] = {
        "by_whom": by.id,
        "lease": by.lease_seconds,
        "only": only,
        "limit": most_jobs,
        "patience": PATIENCE_SECONDS,
    }
    with transaction_of(conn, "ask_for_a_turn", "take_operation", **asked) as begun:
        return begun.rows


def _delay(conn: Connection, by: Worker, taken: Row, why: str, *, may_pass: bool) -> None:
    rows(conn, "delay_operation", id=taken["id"], by_whom=by.id, text=why, may_pass=may_pass)


def leave(conn: Connection, by: Worker) -> None:
    """Let another continue at once with what this one has taken."""
    rows(conn, "leave_operations", by_whom=by.id)


def _do(conn: Connection, by: Worker, taken: Row, most_jobs: int, pace: Pace) -> None:
    for step in _steps(conn, by, taken, most_jobs, pace):
        if not pace.rest() or not _is_done_or_skipped(conn, step):
            return


def _is_done_or_skipped(conn: Connection, step: Step) -> bool:
    """Do a step; skip its only job if that has taken too much for too long. As `perform`."""
    try:
        return perform(conn, step)
    except TOO_MUCH:
        if not step.is_late or len(step.ids) != 1:
            raise
        return perform(conn, replace(step, is_skipped=True))


def _steps(conn: Connection, by: Worker, taken: Row, most_jobs: int, pace: Pace) -> Iterator[Step]:
    action = OperationAction(taken["action"])
    begun = (utc(taken["cursor_at"]), taken["cursor_id"]) if taken["cursor_id"] else None
    wanted = from_stored(taken["filter"], action, taken["queues"])
    whole = Step(
        operation=taken["id"],
        action=action,
        conditions=sent_with(wanted, None, None, 0),
        changes=taken["changes"],
        spread_seconds=taken["spread_seconds"],
        by=by.id,
        lease_seconds=by.kept_seconds,
        ids=taken["later"],
        ended_from=None,
        ended_to=None,
        begun=begun,
        cursor=begun,
        is_walked=True,
        is_late=taken["is_late"],
    )
    if taken["is_walked"]:
        # What was locked, in one step: after that nobody holds the operation, whose next turn is a second later.
        yield whole
        return
    if begun is None and taken["matched_is"] == MatchedIs.MORE_THAN:
        _count(conn, by, taken["id"], wanted)
    looked_for = replace(wanted, after=begun, limit=most_jobs)
    yield from _steps_of(whole, find_jobs(conn, looked_for, most_bytes=MOST_BYTES), 1 if whole.is_late else pace.step)


def _count(conn: Connection, by: Worker, operation: UUID, wanted: JobFilter) -> None:
    """Count the jobs. No step needs it: if the database refuses it, their number stays a lower bound."""
    counted: CountByKind | None = None
    with suppress(Refusal), bounded(seconds=COUNT_SECONDS, lock_seconds=COUNT_SECONDS), translated():
        counted = count_by_kind(conn, wanted, seconds=COUNT_SECONDS)
    matched = counted.jobs.total() if counted and counted.is_whole else None
    rows(conn, "note_count", id=operation, by_whom=by.id, lease=by.lease_seconds, matched=matched)


def _steps_of(whole: Step, found: Found, most_jobs: int) -> Iterator[Step]:
    parts = [found.jobs[at : at + most_jobs] for at in range(0, len(found.jobs), most_jobs)] or [()]
    begun = whole.begun
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        come_to = found.after if is_last else (part[-1].created_at, part[-1].id)
        ended = [job.finished_at for job in part if job.finished_at]
        yield replace(
            whole,
            ids=[job.id for job in part],
            ended_from=min(ended, default=None),
            ended_to=max(ended, default=None),
            begun=begun,
            cursor=come_to or begun,
            is_walked=come_to is None,
        )
        begun = come_to or begun
