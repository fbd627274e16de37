"""What happened to a job, step by step, as far as what is kept of it says: facts in, steps out.

Only the last failed attempts are kept, and of a run that did not fail only the last one. What is not kept is said to be
so, and never guessed. Times come from many transactions, whose clocks stop when they begin: steps are sorted by time,
and no duration is negative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, StrEnum, auto

from haulier.domain.act import Act
from haulier.domain.job import KEPT_ERRORS, WAITING_STATUSES, JobStatus


class What(StrEnum):
    """What a step is; an act of an operator that is none of these is named as the audit names it."""

    ENQUEUED = "enqueued"
    WAITED = "waited"
    BEGAN = "began"
    FAILED = "failed"
    SNOOZED = "snoozed"
    GIVEN_BACK = "given_back"
    PUT_BACK = "put_back"  # snoozed or given back
    CANCEL_REQUESTED = "cancel_requested"
    RETRIED = "retried"
    SUCCEEDED = "succeeded"
    FAILED_PERMANENT = "failed_permanent"
    CANCELLED = "cancelled"
    RUNS_NOT_KEPT = "runs_not_kept"
    ACTS_NOT_KEPT = "acts_not_kept"


class Why(StrEnum):
    """Why a job waited: for its time, and then for a worker; after what."""

    TURN = "turn"  # it was enqueued, or retried by an operator
    BACK_OFF = "back_off"
    SNOOZED = "snoozed"
    GIVEN_BACK = "given_back"
    NOT_KNOWN = "not_known"


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A failed attempt that is kept. `worker` is None if it is not known."""

    attempt: int
    began: datetime
    ended: datetime
    worker: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Done:
    """What an operator did to the job; action as in the audit."""

    at: datetime
    action: str
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is kept of a job.

    `claims` counts every claim, attempts the charged ones. failed and done are the last ones, oldest first; `more_done`
    is true if older acts are left out. `has_worker` is true if a worker runs it or, once it has ended, ended its last
    run; worker is its name, if that is still known. schedule and scheduled_for name the tick that enqueued the job;
    None: none did.
    """

    status: JobStatus
    created_at: datetime
    updated_at: datetime
    run_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    claims: int = 0
    attempts: int = 0
    snoozes: int = 0
    failed: Sequence[FailedRun] = ()
    done: Sequence[Done] = ()
    more_done: bool = False
    has_worker: bool = False
    worker: str | None = None
    enqueued_by: str | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None

    @property
    def waits(self) -> bool:
        """Return whether the job waits now."""
        return self.status in WAITING_STATUSES

    def done_since(self, at: datetime) -> Sequence[Done]:
        """Return what operators did to it from this time on."""
        return [each for each in self.done if each.at >= at]


@dataclass(frozen=True, slots=True)
class Step:
    """One step, of which most fields are None.

    What is a What or the name of an act. A wait begins at `at`; due_at is its end as it was planned, if that is known;
    without seconds it continues. count is how many runs are not kept. schedule and scheduled_for name the tick that
    enqueued the job.
    Units: seconds is how long a run or a wait took, late_seconds how long after its tick the job was enqueued.
    """

    at: datetime
    what: str
    why: Why | None = None
    by: str | None = None
    worker: str | None = None
    attempt: int | None = None
    error: str | None = None
    seconds: float | None = None
    due_at: datetime | None = None
    count: int | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None
    late_seconds: float | None = None


def timeline(facts: Facts) -> list[Step]:
    """Return the steps of the job, oldest first."""
    runs = _Runs(facts)
    walk = _Walk(facts, runs)
    # Whatever the clocks say, a job is enqueued first. Steps of the same instant keep the order of `_events`.
    events = [replace(each, step=replace(each.step, at=max(each.step.at, facts.created_at))) for each in _events(runs)]
    for each in sorted(events, key=lambda event: event.step.at):
        walk.take(each)
    return walk.ended()


class _Effect(Enum):
    """What a step does to whether the job waits or runs."""

    NONE = auto()
    WAITS = auto()
    BEGINS = auto()
    RUN_ENDS = auto()
    RETRIED = auto()
    CANCEL = auto()
    ENDS = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class _Event:
    step: Step
    effect: _Effect = _Effect.NONE
    run: int = -1
    why: Why = Why.TURN


@dataclass(frozen=True, slots=True)
class _Run:
    """A run. `how` is None if nothing but the job's end, if that, reports its end."""

    began: datetime
    attempt: int
    worker: str | None
    ended: datetime | None = None
    how: What | None = None
    error: str | None = None

    def step(self) -> Step:
        """Return the step with which it began."""
        return Step(self.began, What.BEGAN, worker=self.worker, attempt=self.attempt)

    def last_step(self, at: datetime, what: What) -> Step:
        """Return the step with which it ended."""
        seconds = max(0.0, (at - self.began).total_seconds())
        return Step(at, what, worker=self.worker, attempt=self.attempt, error=self.error, seconds=seconds)


_WHY = {What.FAILED: Why.BACK_OFF, What.SNOOZED: Why.SNOOZED, What.GIVEN_BACK: Why.GIVEN_BACK}


class _Runs:
    """The runs of which something is kept, and how many there were besides."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.known = [
            _Run(each.began, each.attempt, each.worker, each.ended, What.FAILED, each.error) for each in facts.failed
        ]
        # The last run is among the failed ones if it had failed after it began.
        covers = bool(facts.failed) and facts.started_at is not None and facts.failed[-1].ended >= facts.started_at
        has_last = facts.started_at is not None and not covers
        self.others = max(0, facts.claims - len(self.known) - has_last)
        # More than the 20 kept ones may have failed.
        self.are_cut = len(facts.failed) >= KEPT_ERRORS and self.others > 0
        if covers:
            last = self.known[-1]
            self.known[-1] = replace(last, worker=last.worker or facts.worker)
        elif facts.started_at is not None:
            self.known.append(self._last(facts.started_at))

    @property
    def are_placed(self) -> bool:
        """Return whether no run that is not known can lie between the known ones."""
        return self.others == (self.facts.failed[0].attempt - 1 if self.are_cut else 0)

    def why_not_known(self, more: int = 0) -> Why:
        """Return how the runs ended that did not fail, and this many more, if all of them ended in one way."""
        facts = self.facts
        if self.others + more == facts.snoozes:
            return Why.SNOOZED
        # Before a retry a run may have been cancelled; then nothing else is kept of it.
        was_retried = facts.more_done or any(each.action == Act.RETRY for each in facts.done)
        return Why.NOT_KNOWN if facts.snoozes or was_retried or self.are_cut else Why.GIVEN_BACK

    def _last(self, began: datetime) -> _Run:
        """Return the last run, which did not fail."""
        facts = self.facts
        # A run that is given back is not charged.
        run = _Run(began, facts.attempts + facts.waits, facts.worker)
        if not facts.waits or facts.done_since(began):
            return run
        how = {Why.SNOOZED: What.SNOOZED, Why.GIVEN_BACK: What.GIVEN_BACK}.get(self.why_not_known(1), What.PUT_BACK)
        return replace(run, ended=facts.updated_at, how=how)

    @property
    def final(self) -> _Run | None:
        """Return the run that ended when the job did, and did not fail; None if there is none."""
        facts = self.facts
        if facts.finished_at is None or not self.known or self.known[-1].how is not None:
            return None
        if facts.status is JobStatus.CANCELLED and not facts.has_worker:
            return None
        return self.known[-1]


_ACTS: dict[str, tuple[str, _Effect]] = {
    Act.CANCEL: (What.CANCEL_REQUESTED, _Effect.CANCEL),
    Act.RETRY: (What.RETRIED, _Effect.RETRIED),
}


def _events(runs: _Runs) -> Iterator[_Event]:
    facts = runs.facts
    at, tick = facts.created_at, facts.scheduled_for
    late = None if tick is None else max(0.0, (at - tick).total_seconds())
    step = Step(at, What.ENQUEUED, by=facts.enqueued_by)
    yield _Event(replace(step, schedule=facts.schedule, scheduled_for=tick, late_seconds=late), _Effect.WAITS)
    if runs.are_cut:
        first = facts.failed[0]
        yield _Event(Step(first.began, What.RUNS_NOT_KEPT, count=runs.others), _Effect.UNKNOWN, why=Why.NOT_KNOWN)
    if facts.more_done and facts.done:
        yield _Event(Step(facts.done[0].at, What.ACTS_NOT_KEPT))
    yield from map(_act, facts.done)
    for number, run in enumerate(runs.known):
        yield from _events_of(run, number)
    yield from _end(runs)


def _act(done: Done) -> _Event:
    # An act of a newer release is shown by its own name.
    what, effect = _ACTS.get(done.action, (done.action, _Effect.NONE))
    return _Event(Step(done.at, what, by=done.by), effect)


def _events_of(run: _Run, number: int) -> Iterator[_Event]:
    yield _Event(run.step(), _Effect.BEGINS, number)
    if run.how is not None and run.ended is not None:
        yield _Event(run.last_step(run.ended, run.how), _Effect.RUN_ENDS, number, _WHY.get(run.how, Why.NOT_KNOWN))


def _end(runs: _Runs) -> Iterator[_Event]:
    facts, final = runs.facts, runs.final
    if facts.finished_at is None:
        return
    # A cancel of a waiting job is its end, and the act says who did it.
    if facts.status is JobStatus.CANCELLED and final is None and _cancels(facts):
        return
    what = What(facts.status)
    step = Step(facts.finished_at, what) if final is None else final.last_step(facts.finished_at, what)
    yield _Event(step, _Effect.ENDS)


def _cancels(facts: Facts) -> bool:
    return any(each.action == Act.CANCEL and each.at == facts.finished_at for each in facts.done)


@dataclass
class _Walk:
    """Goes through the events in their order, and adds the waits between them."""

    facts: Facts
    runs: _Runs
    steps: list[Step | None] = field(default_factory=list)
    # The place among the steps of the wait that is under way; the run that is.
    waiting: int | None = None
    running: int | None = None
    # The waits that a run ended: others may lie in them.
    gaps: list[int] = field(default_factory=list)

    def take(self, event: _Event) -> None:
        """Add the event's step, and what it means for the waits."""
        if event.effect is _Effect.CANCEL:
            event = self._cancel(event)
        if event.effect is _Effect.BEGINS and self.waiting is not None:
            self.gaps.append(self.waiting)
        self._end_wait(event)
        self.steps.append(event.step)
        self._begin_wait(event)

    def _cancel(self, event: _Event) -> _Event:
        """Return the event as what it was: the end of a job that waited, or a request to one that ran."""
        is_end = self.facts.status is JobStatus.CANCELLED and event.step.at == self.facts.finished_at
        is_end = is_end and self.runs.final is None
        if is_end or (self.running is None and self.waiting is not None and self.runs.others == 0):
            return replace(event, step=replace(event.step, what=What.CANCELLED), effect=_Effect.ENDS)
        return replace(event, effect=_Effect.NONE)

    def _end_wait(self, event: _Event) -> None:
        place = self.waiting
        closes = event.effect in (_Effect.BEGINS, _Effect.ENDS)
        is_lost = event.effect in (_Effect.UNKNOWN, _Effect.RETRIED)
        if place is None or not (closes or is_lost):
            return
        wait = self.steps[place]
        assert wait is not None
        if is_lost or (event.effect is _Effect.ENDS and not self._waited_until_cancelled(event, wait)):
            # It had ended then, or began nobody knows when.
            self.steps[place] = None
        else:
            self.steps[place] = replace(wait, seconds=(event.step.at - wait.at).total_seconds())
        self.waiting = None

    def _waited_until_cancelled(self, event: _Event, wait: Step) -> bool:
        # At the same instant it is a run that ended, and the job with it.
        return event.step.what == What.CANCELLED and event.step.at > wait.at

    def _begin_wait(self, event: _Event) -> None:
        effect = event.effect
        if effect is _Effect.BEGINS:
            self.running = event.run
        elif effect in (_Effect.WAITS, _Effect.RETRIED) or (effect is _Effect.RUN_ENDS and self._is_last(event)):
            self.running = None
            self._wait(event.step.at, event.why)
        elif effect is _Effect.ENDS:
            self.running = None

    def _is_last(self, event: _Event) -> bool:
        # By the clocks a run can begin before the one before it has ended.
        return self.running in (None, event.run) and self.waiting is None

    def _wait(self, at: datetime, why: Why) -> None:
        self.waiting = len(self.steps)
        self.steps.append(Step(at, What.WAITED, why=why))

    def ended(self) -> list[Step]:
        """Return all steps."""
        if self.facts.waits and self.waiting is None:
            last = self.steps[-1]
            assert last is not None
            self._wait(last.at, Why.NOT_KNOWN)
        elif not self.facts.waits and self.waiting is not None:
            self.steps[self.waiting] = None
        if not self.runs.are_placed:
            self._say_not_known()
        self._say_due()
        return [step for step in self.steps if step is not None]

    def _say_not_known(self) -> None:
        """Say of each wait in which further runs may lie that its cause is not known, unless there is but one wait."""
        why = self.runs.why_not_known() if len(self.gaps) == 1 else Why.NOT_KNOWN
        for place in self.gaps:
            wait = self.steps[place]
            self.steps[place] = wait and replace(wait, why=why)

    def _say_due(self) -> None:
        """Say of the last wait when it was to end; of those before it that is not kept."""
        waits = [place for place, step in enumerate(self.steps) if step is not None and step.what == What.WAITED]
        last = self.steps[waits[-1]] if waits else None
        if last is not None:
            self.steps[waits[-1]] = replace(last, due_at=self.facts.run_at)
