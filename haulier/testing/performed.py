"""Run one handler once, without a database, through the steps in which a worker runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.domain.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, MAX_SNOOZES, Job, JobStatus, Json
from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import Handler, JobContext, Kind, StopReason, load_kinds
from haulier.testing.asked import as_stored, config_of, find_kind
from haulier.testing.fake_context import MOST_LOOKS, FakeContext, Stop, Word
from haulier.worker.steps.execute import run_one

Ending = Literal["succeeded", "retried", "snoozed", "failed", "cancelled", "released"]


class NeverEnds(HaulierError):
    """The handler waits forever, and the test never asks it to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """How a run ended.

    `result` is what a client would get; error is what `last_error` would be, and exception is what the handler itself
    raised, if anything. `failed` is permanent, and so is a failure in the last attempt. looks is how
    often the handler looked whether it is to stop. progress is what it said of how far it had come, in order: done,
    total and note, each time. The last is what the running job would show.
    Units: delay is the seconds until the job would run again; seconds is how long the run took by the fake clock.
    """

    ending: Ending
    result: Json = None
    error: str | None = None
    exception: BaseException | None = None
    delay: float | None = None
    seconds: float = 0.0
    looks: int = 0
    progress: Sequence[Word] = field(default=(), repr=False)
    job: Job = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the handler returned a result that can be stored."""
        return self.ending == "succeeded"

    @property
    def retried(self) -> bool:
        """Whether this attempt failed and another one follows after `delay`."""
        return self.ending == "retried"

    @property
    def snoozed(self) -> bool:
        """Whether the job runs again after `delay`, and this attempt is not counted."""
        return self.ending == "snoozed"

    @property
    def failed(self) -> bool:
        """Return whether the job failed permanently."""
        return self.ending == "failed"

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled while it ran, however the handler then ended."""
        return self.ending == "cancelled"

    @property
    def released(self) -> bool:
        """Whether the worker gave the job back because it stops. This attempt is not counted."""
        return self.ending == "released"


def perform(  # noqa: PLR0913  # each is one thing that a handler may depend on
    kind: str | Handler,
    payload: Mapping[str, Json] | None = None,
    *,
    attempt: int = 1,
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    snoozes: int = 0,
    timeout_seconds: int | None = None,
    job_id: UUID | None = None,
    cancel_after: float | None = None,
    cancel_at: int | None = None,
    shutdown_after: float | None = None,
    shutdown_at: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Performed:
    """Run a handler once as a worker would, without a database, and return how the run ended.

    `kind` is a name or the handler itself; settings are named as in the environment, which is not read. cancel_at and
    shutdown_at count the handler's looks (wait, raise_if_cancelled, cancelled) from 1.
    Units: seconds, of a clock that only `context.wait` advances.
    Raises: PayloadRefused, which names the field; UnknownKind; ConfigError; NeverEnds.
    """
    if not 1 <= attempt <= max_attempts:
        raise ValueError(f"attempt {attempt} of {max_attempts}: pass a larger max_attempts as well")
    config = config_of(settings)
    found = find_kind(kind, load_kinds(config))
    job = first_run(found.name, as_stored(found, payload))._replace(
        attempts=attempt,
        max_attempts=max_attempts,
        snoozes=snoozes,
        timeout_seconds=timeout_seconds,
        # Every run was claimed, also those that were not charged.
        attempt=attempt + snoozes,
    )
    if job_id is not None:
        job = job._replace(id=job_id)
    stops = [
        Stop(StopReason.CANCELLED, cancel_after, cancel_at),
        Stop(StopReason.SHUTDOWN, shutdown_after, shutdown_at),
        Stop(StopReason.TIMEOUT, timeout_seconds or found.timeout),
    ]
    return _run(found, FakeContext(job, _seen_by(found, config), stops))


def first_run(kind: str, payload: dict[str, Json]) -> Job:
    """Return a job as a worker has claimed it for its first attempt."""
    now = datetime.now(UTC)
    return Job(
        id=uuid4(),
        status=JobStatus.RUNNING,
        kind=kind,
        queue=DEFAULT_QUEUE,
        priority=0,
        run_at=now,
        attempts=1,
        max_attempts=DEFAULT_MAX_ATTEMPTS,
        timeout_seconds=None,
        cancel_requested=False,
        payload=payload,
        idempotency_key=None,
        last_error=None,
        created_at=now,
        updated_at=now,
        started_at=now,
        attempt=1,
        claim=uuid4(),
        worker_id=uuid4(),
        crashes=0,
        snoozes=0,
        backoff=None,
    )


def _seen_by(kind: Kind, config: Config) -> Config:
    return config.withheld((*kind.needs, *kind.reads)) if kind.isolated else config


def _run(kind: Kind, context: FakeContext) -> Performed:
    raised: list[BaseException] = []

    def noting(context: JobContext, payload: dict[str, Json]) -> Json:
        try:
            return kind.run(context, payload)
        except BaseException as error:
            raised.append(error)
            raise

    outcome = run_one(replace(kind, run=noting), context)
    if context.looks > MOST_LOOKS:
        raise NeverEnds(
            f"the handler of {kind.name} checked {MOST_LOOKS:,} times whether it should stop: pass cancel_after or"
            " cancel_at, or give the kind a timeout"
        )
    return _performed(context, outcome, raised[-1] if raised else None)


def _performed(context: FakeContext, outcome: Outcome, exception: BaseException | None) -> Performed:
    job, ending, error = context.job, _ending(context, outcome), outcome.error
    if ending == "failed" and outcome.verb is Verb.SNOOZE:
        error = f"snoozed more than {MAX_SNOOZES} times"
    return Performed(
        ending=ending,
        result=json.loads(outcome.result) if ending == "succeeded" and outcome.result else None,
        error=error,
        exception=exception,
        delay=outcome.delay if ending in ("retried", "snoozed") else None,
        seconds=context.now,
        looks=context.looks,
        progress=context.words,
        job=job,
    )


def _ending(context: FakeContext, outcome: Outcome) -> Ending:
    """Return what settle.sql makes of the outcome; a test runs the same jobs by both."""
    job = context.job
    if context.stop_reason is StopReason.CANCELLED:
        return "cancelled"
    if outcome.verb is Verb.COMPLETE:
        return "succeeded"
    if outcome.verb is Verb.SNOOZE:
        return "failed" if job.snoozes >= MAX_SNOOZES else "snoozed"
    if outcome.verb is Verb.FAIL:
        return "failed" if outcome.delay is None or job.is_last_attempt else "retried"
    return "released"
