"""One step of an operation: lock its jobs, act on them, and note how far it has come. All of it is one transaction."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from haulier.domain.errors import Refusal, RowRefused
from haulier.domain.job import Json
from haulier.domain.operation import ACTS_ON_LIVE, MatchedIs, OperationAction
from haulier.postgres.errors import PostgresError, spares_others
from haulier.postgres.halves import by_halves
from haulier.postgres.statements import Begun, Connection, Row, end_with, rows, savepoint, transaction_of
from haulier.postgres.values import array
from haulier.queue.jobs.acting import Many, prepared
from haulier.queue.jobs.cancel import cancel_all
from haulier.queue.jobs.change import Changes, change_all
from haulier.queue.jobs.delete import delete_all
from haulier.queue.jobs.retry import retry_all
from haulier.queue.search.job_filter import Position
from haulier.queue.upkeep.partitions import with_history

# A step that waits longer for a lock is retried. (Rows that are locked it skips.)
LOCK_SECONDS = 1.0
# Of the jobs that were locked, or refused for now, this many are kept for the end.
MOST_LATER = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """Some jobs of an operation that was taken.

    `conditions` are what the statements that look are sent of its filter. ended_from and ended_to are when the first
    and the last finished job ended, as far as that is known. begun is where the walk is before the step, and cursor
    where it is then; that stays at the end of the walk. `is_late` is true if the operation has waited for long, and
    that jobs behind are to come first; is_skipped, that nothing is done to the jobs.
    Units: lease_seconds is for how long nobody else continues after the step.
    """

    operation: UUID
    action: OperationAction
    conditions: Mapping[str, Any]
    changes: Mapping[str, Json]
    spread_seconds: int
    by: UUID
    lease_seconds: float
    ids: Sequence[UUID]
    ended_from: datetime | None
    ended_to: datetime | None
    begun: Position | None
    cursor: Position | None
    is_walked: bool
    is_late: bool = False
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class _Acted:
    """What became of the jobs that were locked. `held` are refused for now, with one of the reasons."""

    done: int
    failed: int = 0
    held: Sequence[UUID] = field(default_factory=list)
    why: Refusal | None = None


_Act = Callable[[Connection, Step, Row], _Acted]


def perform(conn: Connection, step: Step) -> bool:
    """Do a step; False, and nothing is done, if the operation is over or somebody else's by now.

    If the database refuses a job, the step is done to all others.

    Raises: Refusal if not one job can be done, and waiting may help; what the database raises if that is about
            no job.
    """
    prepared.get_ready(conn)
    try:
        return _performed(conn, step, _act_at_once)
    except RowRefused:
        pass
    except PostgresError as error:
        if not spares_others(error):
            raise
    return _performed(conn, step, _act_apart)


def _performed(conn: Connection, step: Step, act: _Act) -> bool:
    def write() -> bool:
        with locking(conn, step) as begun:
            for turn in begun.rows:
                if turn["is_lost"]:
                    end_with(begun, "lose_operation", id=step.operation)
                else:
                    others = _that_others_lock(conn, step, turn)
                    end_with(begun, "end_step", **_ended(step, turn, act(conn, step, turn), others))
                return True
            return False

    return with_history(conn, write)


def locking(conn: Connection, step: Step) -> AbstractContextManager[Begun]:
    """Run the block in a transaction that has locked the operation and its jobs.

    In one row, or none if it is not the turn of this step, how far the operation is; taken, the ids of the jobs that it
    is about, as the text of an array; and how_many these are.
    """
    sent = {**_sent(step), "lock_seconds": LOCK_SECONDS}
    if step.action in ACTS_ON_LIVE:
        return transaction_of(conn, "one_plan_by_index", "lock_tables_of_jobs", "lock_live", **sent)
    return transaction_of(conn, "one_plan_by_index", "lock_tables_of_jobs", "lock_ended", **sent)


def _that_others_lock(conn: Connection, step: Step, turn: Row) -> list[UUID]:
    if step.is_skipped or turn["how_many"] == len(step.ids):
        return []
    sent = {**_sent(step), "taken": turn["taken"]}
    if step.action in ACTS_ON_LIVE:
        return [job["id"] for job in rows(conn, "live_that_others_lock", **sent)]
    return [job["id"] for job in rows(conn, "ended_that_others_lock", **sent)]


def _sent(step: Step) -> dict[str, Any]:
    begun_at, begun_id = step.begun or (None, None)
    return {
        **step.conditions,
        "id": step.operation,
        "by_whom": step.by,
        "ids": array([] if step.is_skipped else step.ids),
        "ended_from": step.ended_from,
        "ended_to": step.ended_to,
        "begun_at": begun_at,
        "begun_id": begun_id,
    }


def _act_at_once(conn: Connection, step: Step, turn: Row) -> _Acted:
    if turn["how_many"]:
        _act_on(conn, step, turn["taken"], turn["how_many"], turn["done"])
    return _Acted(turn["how_many"])


def _act_apart(conn: Connection, step: Step, turn: Row) -> _Acted:
    """Act on the jobs by halves, down to the single ones that the database refuses."""
    taken, done = [UUID(job) for job in turn["taken"].strip("{}").split(",") if job], 0

    def act(ids: Sequence[UUID]) -> Sequence[UUID]:
        nonlocal done
        with savepoint(conn):
            _act_on(conn, step, array(ids), len(ids), turn["done"] + done)
        done += len(ids)
        return ids

    became = by_halves(taken, act, most_in_vain=math.inf)
    refused = [(job, why) for job, why in zip(taken, became, strict=True) if isinstance(why, Refusal)]
    held = [(job, why) for job, why in refused if not isinstance(why, RowRefused)]
    last = held[-1][1] if held else None
    # At the end of the walk, and if it has waited for long, others come first.
    if last and len(held) == len(taken) and not turn["was_walked"] and not (step.is_late and last.may_pass):
        raise last
    return _Acted(done, len(refused) - len(held), [job for job, _ in held], last)


def _act_on(conn: Connection, step: Step, ids: str, how_many: int, place: int) -> None:
    changes = Changes(json.dumps(dict(step.changes)))
    many = Many(ids, step.operation, place, step.spread_seconds, step.ended_from, step.ended_to)
    match step.action:
        case OperationAction.CANCEL:
            done = cancel_all(conn, many)
        case OperationAction.RETRY:
            done = retry_all(conn, many, changes)
        case OperationAction.DELETE:
            done = delete_all(conn, many)
        case OperationAction.CHANGE:
            done = change_all(conn, many, changes)
    # Fewer: a trigger has dropped one, which would be lost. More: somebody has inserted another job with an id, and
    # nobody knows which was meant.
    if done != how_many:
        raise RowRefused(f"{done} jobs were changed instead of {how_many}")


def _ended(step: Step, turn: Row, acted: _Acted, others: Sequence[UUID]) -> dict[str, Any]:
    """Return what is noted of the operation at the end of a step; others are jobs that somebody else has locked."""
    now = set(step.ids) if turn["later"] else ()
    later = [*(job for job in turn["later"] if job not in now), *acted.held, *others]
    # Those that stay locked are not waited for; nor are more than these kept.
    kept = [] if turn["has_waited"] else later[:MOST_LATER]
    done, failed = turn["done"] + acted.done, turn["failed"] + acted.failed
    missed = len(step.ids) - turn["how_many"] - len(others)
    skipped = turn["skipped"] + missed + len(later) - len(kept)
    is_over = step.is_walked and not kept
    matched, matched_is = turn["matched"], turn["matched_is"]
    met = skipped
    if is_over:
        # If all were counted that matched, the walk may not have met some of them: they match no more.
        if matched_is == MatchedIs.EXACT and matched >= done + failed:
            skipped = matched - done - failed
        matched, matched_is = done + failed + skipped, str(MatchedIs.EXACT)
    come_to, come_to_id = step.cursor or (None, None)
    return {
        "id": step.operation,
        "done": done,
        "failed": failed,
        "skipped": skipped,
        "unmet": skipped - met,
        "later": array(kept),
        "matched": matched,
        "matched_is": matched_is,
        "come_to": come_to,
        "come_to_id": come_to_id,
        "is_walked": step.is_walked,
        "is_over": is_over,
        "lease": step.lease_seconds,
    }
