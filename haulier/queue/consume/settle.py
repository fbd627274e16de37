"""Settle: let claimed jobs leave `running` as their outcomes say. Functions over a connection.

The fence: a claim is (id, attempt, claim), and only who shows all three can settle the job. `attempt` counts claims
and only grows; `claim` is new for each claim statement. What a zombie settles late changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import Refusal, RefusedForNow
from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus
from haulier.postgres.errors import translated
from haulier.postgres.statements import IDLE_SECONDS, LOCK_SECONDS, STATEMENT_SECONDS, Connection, rows, transaction
from haulier.postgres.values import array
from haulier.queue.consume.prepared import prepared
from haulier.queue.rows import fence_of
from haulier.queue.upkeep.partitions import with_history

# A statement that is refused after so long has waited for something.
SLOW_SECONDS = 2.0
# So many outcomes are refused one by one before the others are believed to be refused too.
MOST_IN_VAIN = 20
# The statements of a message that settles, in a transaction of its own.
SETTLE = ("begin", "settle_by_index", "settle", "commit")


def settle(
    conn: Connection, settlements: Sequence[Settlement], *, lock_seconds: float = LOCK_SECONDS
) -> dict[UUID, JobStatus]:
    """Let each job leave `running` as its outcome says, and return the status it has now.

    A row that somebody else has locked is waited for, or left out where lock_seconds is 0.

    Shape:  a job whose claim is no longer the current one is missing from the result, and unchanged.
    Raises: Locked, and nothing was settled; DatabaseUnavailable: whether they were settled is then unknown, and
            `settled_earlier` tells.
    """
    if not settlements:
        return {}
    statuses = with_history(conn, lambda: _settle(conn, settlements, lock_seconds))
    found = zip(settlements, statuses, strict=True)
    return {settlement.fence.id: status for settlement, status in found if status is not None}


def settle_each(
    conn: Connection, settlements: Sequence[Settlement], *, seconds: float = STATEMENT_SECONDS
) -> list[JobStatus | Refusal | None]:
    """Settle all that can be settled, and return what became of each.

    Where the database refuses a batch, its halves are settled apart, down to the outcome that is refused: so it costs
    the others a few round trips, and not one for each. Where it refuses all, no more than a few are tried.

    Shape:  None for one that was left out: its row is locked, or its claim is no longer the current one.
    Units:  seconds is what each statement may take.
    Raises: DatabaseUnavailable; what was settled is then unknown.
    """
    became: list[JobStatus | Refusal | None] = [None] * len(settlements)
    todo, in_vain, is_all = [(0, len(settlements))], 0, True
    while todo:
        start, end = todo.pop()
        began_at = time.monotonic()
        try:
            with translated():
                became[start:end] = with_history(conn, partial(_settle_free, conn, settlements[start:end], seconds))
            is_all = False
        except Refusal as refused:
            # Where a lock on the whole table was waited for, each of the others would wait as well.
            if isinstance(refused, RefusedForNow) and time.monotonic() - began_at >= SLOW_SECONDS:
                raise
            middle = (start + end) // 2
            if end - start == 1:
                became[start], in_vain = refused, in_vain + 1
            elif not is_all or in_vain < MOST_IN_VAIN:
                todo += [(middle, end), (start, middle)]
            else:
                became[start:end] = [refused] * (end - start)
    return became


def _settle_free(conn: Connection, settlements: Sequence[Settlement], seconds: float) -> list[JobStatus | None]:
    """Settle those whose rows nobody else has locked, in one round trip."""
    if not settlements:
        return []
    parameters = {**message_limits(seconds), **settle_parameters(settlements)}
    [row] = prepared.message(conn, [*SETTLE, "settled"], seconds=2 * seconds, **parameters)
    return statuses_of(row[0])


def _settle(conn: Connection, settlements: Sequence[Settlement], lock_seconds: float) -> list[JobStatus | None]:
    parameters = settle_parameters(settlements)
    with transaction(conn, lock_seconds=lock_seconds or LOCK_SECONDS):
        if lock_seconds:
            # Its own statement: the one that settles then sees each row as it was locked.
            rows(conn, "lock_held", **{name: parameters[name] for name in ("ids", "attempts", "claims")})
        [settled] = rows(conn, "settle", **parameters)
    return statuses_of(settled["settled"])


def message_limits(seconds: float = STATEMENT_SECONDS) -> dict[str, Any]:
    """Return the parameters of `begin` and of `claim_by_index`."""
    return {
        "milliseconds": int(seconds * 1000),
        "lock_milliseconds": int(LOCK_SECONDS * 1000),
        "idle_milliseconds": int(IDLE_SECONDS * 1000),
    }


def settle_parameters(settlements: Sequence[Settlement]) -> dict[str, Any]:
    """Return the parameters of the statement `settle`."""
    fences = [settlement.fence for settlement in settlements]
    outcomes = [settlement.outcome for settlement in settlements]
    return {
        # No two are alike, which `array` is made for.
        "ids": "{" + ",".join([fence.id.hex for fence in fences]) + "}",
        "attempts": array([fence.attempt for fence in fences]),
        "claims": array([fence.claim for fence in fences]),
        "verbs": array([outcome.verb for outcome in outcomes]),
        "results": array([outcome.result for outcome in outcomes]),
        "errors": array([outcome.error for outcome in outcomes]),
        "delays": array([outcome.delay for outcome in outcomes]),
        "backoffs": array([outcome.backoff for outcome in outcomes]),
        "alone": array([settlement.alone for settlement in settlements]),
        "max_snoozes": MAX_SNOOZES,
        "kept_errors": KEPT_ERRORS,
    }


# As the statement `settle` abbreviates them.
_STATUS_OF = {status.value[0]: status for status in JobStatus if status is not JobStatus.RUNNING}


def statuses_of(settled: str) -> list[JobStatus | None]:
    """Return the status of each job that the statement `settle` tells of, None for one that it left out."""
    return [_STATUS_OF.get(letter) for letter in settled]


def settled_earlier(conn: Connection, fences: Sequence[Fence]) -> dict[Fence, JobStatus]:
    """Return the statuses that a settle under these fences left, when its reply was lost.

    Shape: without those of which there was none.
    """
    found = rows(
        conn,
        "settled_earlier",
        ids=array(fence.id for fence in fences),
        attempts=array(fence.attempt for fence in fences),
        claims=array(fence.claim for fence in fences),
    )
    return {fence_of(row): JobStatus(row["status"]) for row in found}
