"""Settle: let claimed jobs leave `running` as their outcomes say. Functions over a connection.

The fence: a claim is identified by (id, attempt, claim), and a settle has to show all three. `attempt` counts claims
and only grows; `claim` is new for each claim statement. A late settle of a claim that was lost changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import Refusal
from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, JobStatus
from haulier.domain.outcome import Verb
from haulier.postgres.errors import translated
from haulier.postgres.halves import by_halves
from haulier.postgres.prepared import Prepared
from haulier.postgres.statements import (
    IDLE_SECONDS,
    LOCK_SECONDS,
    STATEMENT_SECONDS,
    Connection,
    message,
    rows,
    transaction,
)
from haulier.postgres.values import array
from haulier.queue.rows import fence_of
from haulier.queue.upkeep.partitions import with_history

prepared = Prepared(("claim_by_index", "claim", "settle", "settle_completed"), session="answers_bounded")


# The statements of a message that settle, in their own transaction.
SETTLE = ("begin", "one_plan_by_index", "settle", "commit")
# The same if all runs were completed.
SETTLE_COMPLETED = ("begin", "one_plan_by_index", "settle_completed", "commit")
# The same if an attempt has failed.
SETTLE_AND_NOTE = ("begin", "one_plan_by_index", "settle", "note_soon", "note_errors", "commit")


def settle(
    conn: Connection,
    settlements: Sequence[Settlement],
    *,
    lock_seconds: float = LOCK_SECONDS,
    worker_name: str | None = None,
) -> dict[UUID, JobStatus]:
    """Let each job leave `running` as its outcome says, and return the status it has now.

    A row that somebody else has locked is waited for; with lock_seconds 0 it is left out. `worker_name`, the host
    and the process id of the worker that ran the jobs, is what their failed attempts are noted with.

    A job whose claim is no longer the current one is missing from the result, and unchanged.
    Raises: Locked: nothing was settled. DatabaseUnavailable: whether the jobs were settled is then unknown;
            `settled_earlier` says.
    """
    if not settlements:
        return {}
    statuses = with_history(conn, lambda: _settle(conn, settlements, lock_seconds, worker_name))
    found = zip(settlements, statuses, strict=True)
    return {settlement.fence.id: status for settlement, status in found if status is not None}


def _ignored(_: Refusal) -> None:
    pass


def settle_each(
    conn: Connection,
    settlements: Sequence[Settlement],
    *,
    seconds: float = STATEMENT_SECONDS,
    uncounted: Callable[[Refusal], None] = _ignored,
    worker_name: str | None = None,
) -> list[JobStatus | Refusal | None]:
    """Settle all that can be settled, and return what became of each.

    If the database refuses only to count failed attempts, they are settled without, and `uncounted` is called with the
    refusal.

    None for an outcome that was left out: its row is locked, or its claim is no longer the current one.
    Units:  seconds is what each statement may take.
    Raises: DatabaseUnavailable: what was settled is then unknown.
    """
    settle_free = partial(_settle_free, conn, seconds=seconds, worker_name=worker_name)
    return by_halves(settlements, lambda part: _settle_counted(conn, part, settle_free, uncounted))


def _settle_counted(
    conn: Connection,
    settlements: Sequence[Settlement],
    settle_free: Callable[[Sequence[Settlement]], list[JobStatus | None]],
    uncounted: Callable[[Refusal], None],
) -> list[JobStatus | None]:
    """Settle and count what has failed; if that is refused, settle without. Raises: psycopg2's errors; Refusal."""
    try:
        with translated():
            return with_history(conn, partial(settle_free, settlements))
    except Refusal as refused:
        if not any([each.failure for each in settlements]):
            raise
        plain = [each.uncounted for each in settlements]
        statuses = with_history(conn, partial(settle_free, plain))
        uncounted(refused)
        return statuses


def _settle_free(
    conn: Connection, settlements: Sequence[Settlement], *, seconds: float, worker_name: str | None
) -> list[JobStatus | None]:
    """Settle the jobs whose rows nobody else has locked, in one round trip."""
    if not settlements:
        return []
    names, values = settling(settlements, worker_name)
    parameters = {**message_limits(seconds), **values}
    with prepared.on(conn) as calls:
        [row] = message(conn, [*names, "settled"], seconds=2 * seconds, prepared=calls, **parameters)
    return statuses_of(row[0])


def _settle(
    conn: Connection, settlements: Sequence[Settlement], lock_seconds: float, worker_name: str | None
) -> list[JobStatus | None]:
    names, parameters = settling(settlements, worker_name)
    # All but those of the transaction, which is one of its own here.
    _, _, settle, *notes, _ = names
    with transaction(conn, lock_seconds=lock_seconds or LOCK_SECONDS):
        if lock_seconds:
            # Its own statement: `settle` then sees each row as it was when it was locked.
            rows(conn, "lock_held", **{name: parameters[name] for name in ("ids", "attempts", "claims")})
        [settled] = rows(conn, settle, **parameters)
        for name in notes:
            rows(conn, name, **parameters)
    return statuses_of(settled["settled"])


def message_limits(seconds: float = STATEMENT_SECONDS) -> dict[str, Any]:
    """Return the parameters of `begin` and of `claim_by_index`."""
    return {
        "milliseconds": int(seconds * 1000),
        "lock_milliseconds": int(LOCK_SECONDS * 1000),
        "idle_milliseconds": int(IDLE_SECONDS * 1000),
    }


def settling(settlements: Sequence[Settlement], worker_name: str | None = None) -> tuple[Sequence[str], dict[str, Any]]:
    """Return the statements of a message that settles these jobs of one worker, and their parameters."""
    if all([each.outcome.verb is Verb.COMPLETE for each in settlements]):
        return SETTLE_COMPLETED, completed_parameters(settlements)
    parameters = settle_parameters(settlements, worker_name)
    if not any([each.failure for each in settlements]):
        return SETTLE, parameters
    return SETTLE_AND_NOTE, {**parameters, **_failures_told(settlements)}


def _failures_told(settlements: Sequence[Settlement]) -> dict[str, Any]:
    """Return the parameters of `note_errors`."""
    failed = [(place, each.fence.id, each.failure) for place, each in enumerate(settlements, 1) if each.failure]
    first = {failure.group: (place, failure) for place, _, failure in reversed(failed)}
    return {
        "places": array([place for place, _, _ in failed]),
        "failed_ids": array([failure.group.id for _, _, failure in failed]),
        "failed_queues": array([failure.queue for _, _, failure in failed]),
        "failed_jobs": array([job_id for _, job_id, _ in failed]),
        "group_ids": array([group.id for group in first]),
        "group_kinds": array([group.kind for group in first]),
        "group_texts": array([group.text for group in first]),
        "group_examples": array([failure.error for _, failure in first.values()]),
        "group_places": array([place for place, _ in first.values()]),
    }


def completed_parameters(settlements: Sequence[Settlement]) -> dict[str, Any]:
    """Return the parameters of the statement `settle_completed`."""
    fences = [settlement.fence for settlement in settlements]
    return {
        # Not by `array`, which is made for values that repeat: no two ids are alike.
        "ids": "{" + ",".join([fence.id.hex for fence in fences]) + "}",
        "attempts": array([fence.attempt for fence in fences]),
        "claims": array([fence.claim for fence in fences]),
        "results": array([settlement.outcome.result for settlement in settlements]),
    }


def settle_parameters(settlements: Sequence[Settlement], worker_name: str | None = None) -> dict[str, Any]:
    """Return the parameters of the statement `settle`."""
    outcomes = [settlement.outcome for settlement in settlements]
    return {
        **completed_parameters(settlements),
        "verbs": array([outcome.verb for outcome in outcomes]),
        "errors": array([outcome.error for outcome in outcomes]),
        "delays": array([outcome.delay for outcome in outcomes]),
        "backoffs": array([outcome.backoff for outcome in outcomes]),
        "worker_name": worker_name,
        "alone": array([settlement.alone for settlement in settlements]),
        "error_ids": array([each.failure and each.failure.group.id for each in settlements]),
        "max_snoozes": MAX_SNOOZES,
        "kept_errors": KEPT_ERRORS,
    }


# By the first letter, as the statement `settle` returns them.
_STATUS_OF = {status.value[0]: status for status in JobStatus if status is not JobStatus.RUNNING}


def statuses_of(settled: str) -> list[JobStatus | None]:
    """Return the status of each job in the result of the statement `settle`; None for a job that it left out."""
    return [_STATUS_OF.get(letter) for letter in settled]


def settled_earlier(conn: Connection, fences: Sequence[Fence]) -> dict[Fence, JobStatus]:
    """Return the status of each job that was settled under its fence by a settle whose reply was lost.

    A fence under which nothing was settled is missing.
    """
    found = rows(
        conn,
        "settled_earlier",
        ids=array(fence.id for fence in fences),
        attempts=array(fence.attempt for fence in fences),
        claims=array(fence.claim for fence in fences),
    )
    return {fence_of(row): JobStatus(row["status"]) for row in found}
