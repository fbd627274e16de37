"""Runs one job: from the claimed Job to the Outcome. Handlers run inside `run_one`, and nowhere else."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from haulier.domain.job import Job, Json
from haulier.domain.outcome import Outcome
from haulier.domain.waiting import UNKNOWN_KIND, unknown_fields
from haulier.kinds import Fail, JobCancelled, JobContext, Kind, Retry, Snooze, StopReason, UnknownFields, around
from haulier.logs import bind_to, hidden, redacted, unbind

# A worker without the kind, or without a field of the payload, gives the job back for this long: during a rolling
# deploy another worker has it, and after a rollback the next release.
UNKNOWN_SECONDS = 60.0
MAX_DELAY_SECONDS = 31_536_000.0
# The delay if a handler asks for its next attempt in a way that makes no sense.
ODD_DELAY_SECONDS = 10.0

log = logging.getLogger(__name__)


Perform = Callable[[Kind, JobContext], Outcome]


def run_one(kind: Kind | None, context: JobContext, elsewhere: Perform | None = None) -> Outcome:
    """Run the job's handler and return how it ended; whatever the handler does, this returns.

    `elsewhere` runs the jobs of isolated kinds; if it is None they run in this process.
    """
    job = context.job
    if kind is None:
        return Outcome.release(UNKNOWN_SECONDS, why=UNKNOWN_KIND.format(job.kind, UNKNOWN_SECONDS))
    if secrets := kind.secrets_of(job):
        # In the log, and in what becomes of errors.
        with hidden(secrets):
            return _run(kind, context, elsewhere)
    return _run(kind, context, elsewhere)


def _run(kind: Kind, context: JobContext, elsewhere: Perform | None) -> Outcome:
    job = context.job
    token = bind_to(partial(job_fields, job))
    try:
        outcome = elsewhere(kind, context) if kind.isolated and elsewhere is not None else _call(kind, context)
        if context.stop_reason is StopReason.TIMEOUT:
            return failed_attempt(kind, job, f"timed out after {job.timeout_seconds or kind.timeout} s")
    # `_call` has caught what the handler raised; this is what follows from it: a delay that is not a number, a
    # back-off that raises.
    except BaseException as error:
        log.exception("the handler ended in an invalid way")
        return Outcome.fail(f"{type(error).__name__}: {describe(error)}", delay=ODD_DELAY_SECONDS)
    finally:
        unbind(token)
    return outcome


def _call(kind: Kind, context: JobContext) -> Outcome:
    job = context.job
    try:
        # In a copy of the thread's context variables: what the handler sets does not reach the next run.
        return Outcome.complete(copy_context().run(_perform, kind, context))
    except JobCancelled:
        # A requested cancel is on the row and overrules this release; a shutdown or a lost lease charges nothing.
        if context.stop_reason is None:
            return failed_attempt(kind, job, "the handler raised JobCancelled, but it was not asked to stop")
        return Outcome.release()
    except Snooze as snooze:
        return Outcome.snooze(delay_of(snooze.seconds))
    except Retry as retry:
        if retry.seconds is None:
            return failed_attempt(kind, job, describe(retry))
        return Outcome.fail(describe(retry), delay=delay_of(retry.seconds))
    except Fail as fail:
        return _after_fail(fail)
    # Not only Exception: a handler may call sys.exit, and the thread must live on.
    except BaseException as error:
        return _after_error(kind, context, error)


def _after_fail(fail: Fail) -> Outcome:
    if isinstance(fail, UnknownFields):
        # Whoever sends a payload chooses the names, too.
        names = [redacted(name) for name in fail.names]
        return Outcome.release(UNKNOWN_SECONDS, why=unknown_fields(names, UNKNOWN_SECONDS))
    return Outcome.fail_for_good(describe(fail))


def _after_error(kind: Kind, context: JobContext, error: BaseException) -> Outcome:
    log.info("a handler raised", exc_info=error)
    # The worker itself stopped the handler, so the attempt is not charged.
    if context.stop_reason is StopReason.SHUTDOWN:
        return Outcome.release()
    return failed_attempt(kind, context.job, f"{type(error).__name__}: {describe(error)}{_place(error)}")


def _perform(kind: Kind, context: JobContext) -> Json:
    """Return the handler's result; only in this process."""
    if not kind.middleware:
        return _handle(kind, context)
    with around(kind.middleware, context):
        return _handle(kind, context)


def _handle(kind: Kind, context: JobContext) -> Json:
    home = _forks.count
    try:
        return kind.perform(context)
    finally:
        # A process that the handler forked has returned from the handler: without this it would continue as a second
        # worker, on the same connections.
        if _forks.count != home:
            os._exit(_exit_code(sys.exc_info()[1]))


class _Forks:
    """How many forks lie between this process and the first. Comparing process ids would cost each job system calls."""

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._add)

    def _add(self) -> None:
        self.count += 1


_forks = _Forks()


def _exit_code(error: BaseException | None) -> int:
    if not isinstance(error, SystemExit):
        return int(error is not None)
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def failed_attempt(kind: Kind, job: Job, error: str) -> Outcome:
    """Return the failure of this attempt, with the next one after the kind's own back-off."""
    sleep = kind.retry.next_sleep(job.backoff)
    return Outcome.fail(error, delay=sleep, backoff=sleep)


def delay_of(seconds: float) -> float:
    """Return the delay that a handler asks for; one in the past is 0. Units: seconds. Raises: ValueError."""
    if not seconds <= MAX_DELAY_SECONDS:
        raise ValueError(f"the handler asked for a delay of {seconds} s, and {MAX_DELAY_SECONDS:.0f} is the longest")
    return max(0.0, seconds)


def describe(error: BaseException) -> str:
    """Return the error's own message, passwords masked; its class name if the message is empty or raises."""
    try:
        return redacted(str(error)) or type(error).__name__
    # An exception's __str__ is the handler's code, and may raise anything.
    except BaseException:
        return type(error).__name__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})"


def job_fields(job: Job) -> dict[str, object]:
    """Return the fields that each log line about a job carries."""
    return {"job_id": str(job.id), "kind": job.kind, "attempt": job.attempts}
