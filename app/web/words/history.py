"""The history of a job: from the steps of its timeline to the lines and the strip of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from haulier.domain.text import count, duration
from haulier.domain.timeline import Step, What, Why


@dataclass(frozen=True, slots=True)
class Line:
    """A step as it is shown.

    `icon` is a symbol's id, `state` its colour. `until` is the planned end of a wait, changes are what an operator has
    changed; `by` is an actor as it is stored.
    """

    at: datetime
    icon: str
    state: str
    head: str
    rest: str = ""
    error: str = ""
    took: str = ""
    is_wait: bool = False
    until: datetime | None = None
    changes: Sequence[str] = ()
    by: str = ""


WHY: Mapping[str, str] = {
    Why.TURN: "for its due time and a worker",
    Why.BACK_OFF: "for its back-off and a worker",
    Why.SNOOZED: "for its snooze and a worker",
    Why.GIVEN_BACK: "for a worker, after a worker returned it",
    Why.NOT_KNOWN: "for an unknown reason",
}
# The look of a stretch of time, and its words. In "" the job neither waited nor ran, or nobody knows.
WAITED, RAN, NEITHER = "queued", "running", ""
LOOKS: Mapping[str, str] = {
    WAITED: "waited",
    "failed": "ran and failed",
    "retrying": "ran and was returned to its queue",
    "cancelled": "ran until it was cancelled",
    "succeeded": "ran and succeeded",
    RAN: "ran",
    NEITHER: "empty: neither, or unknown",
}
_ENDS: Mapping[str, str] = {
    What.FAILED: "failed",
    What.FAILED_PERMANENT: "failed",
    What.SNOOZED: "retrying",
    What.GIVEN_BACK: "retrying",
    What.PUT_BACK: "retrying",
    What.CANCELLED: "cancelled",
    What.SUCCEEDED: "succeeded",
}
# More are summed up: the list would be too long to listen to, and the lines below have them all.
MOST_STRETCHES = 9
# What a wait was for until the job was due, if nobody changed that.
_UNTIL_DUE: Mapping[str, str] = {Why.TURN: "its due time", Why.BACK_OFF: "its back-off", Why.SNOOZED: "its snooze"}
ACTS: Mapping[str, str] = {"change": "Changed", "copy": "Copied", "operate": "Part of an operation"}


def lines(steps: Sequence[Step], used: str = "") -> list[Line]:
    """Return the steps as lines, in their order. `used` says how many attempts a job has used that has failed."""
    found = [_LINES.get(step.what, _act)(step) for step in steps]
    if used and steps and steps[-1].what == What.FAILED_PERMANENT:
        found[-1] = replace(found[-1], head="Failed permanently:", rest=used)
    return found


def summary(steps: Sequence[Step], seconds: float) -> str:
    """Return how long the job waited and ran in total; "" if that is not fully known."""
    waits = [step for step in steps if step.what == What.WAITED]
    waited = sum(step.seconds or 0.0 for step in waits)
    ran = sum(step.seconds or 0.0 for step in steps if step.what != What.WAITED)
    # Snoozed or returned runs are not kept and lie in waits. Before a retry by an operator the job did neither.
    is_whole = all(step.why in (Why.TURN, Why.BACK_OFF) for step in waits) and abs(waited + ran - seconds) < 0.1
    return f"{duration(seconds)}: waited {duration(waited)}, ran {duration(ran)}" if is_whole else ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some time of a job. `look` is a key of LOOKS."""

    look: str
    seconds: float


def stretches(steps: Sequence[Step]) -> list[Stretch]:
    """Return the finished stretches of a job's time, from its first step on; none of 0 s.

    Steps can overlap because several transactions have set their times: then the earlier one counts.
    """
    spans = sorted(((begin, end, look) for begin, end, look in map(_span, steps) if end > begin), key=lambda it: it[:2])
    found: list[Stretch] = []
    at = steps[0].at if steps else None
    for begin, end, look in spans:
        assert at is not None
        if begin > at:
            found.append(Stretch(NEITHER, (begin - at).total_seconds()))
        if end > (start := max(at, begin)):
            found.append(Stretch(look, (end - start).total_seconds()))
            at = end
    return found


def _span(step: Step) -> tuple[datetime, datetime, str]:
    """Return the start, end and look of a step. A step without a length ends when it starts."""
    took = timedelta(seconds=max(0.0, step.seconds or 0.0))
    if step.what == What.WAITED:
        return step.at, step.at + took, NEITHER if step.why == Why.NOT_KNOWN else WAITED
    return step.at - took, step.at, _ENDS.get(step.what, RAN)


def in_words(found: Sequence[Stretch]) -> str:
    """Return the stretches in words."""
    if not found:
        return "Nothing has finished yet"
    parts = [(_verb(each.look), each.seconds) for each in found]
    if len(parts) > MOST_STRETCHES:
        sums = [(verb, sum(seconds for each, seconds in parts if each == verb)) for verb in dict(parts)]
        return f"{_sentence(sums)}, in {count(len(parts), 'stretch', 'stretches')}"
    return _sentence(parts)


def _verb(look: str) -> str:
    return {WAITED: "waited", NEITHER: "neither"}.get(look, "ran")


def _sentence(parts: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{verb} {duration(seconds)}" for verb, seconds in parts).capitalize()


def _on(step: Step) -> str:
    return f"on {step.worker}" if step.worker else ""


def _ran(step: Step) -> str:
    return "" if step.seconds is None else f"ran {duration(step.seconds)}"


def _attempt(step: Step) -> str:
    return f"Attempt {step.attempt}" if step.attempt else "An attempt"


def _enqueued(step: Step) -> Line:
    return Line(step.at, "i-in", "queued", "Enqueued", by=step.by or "")


def _waited(step: Step) -> Line:
    why = _why_waited(step)
    if step.seconds is None:
        return Line(step.at, "i-wait", "queued", "Waits", why, is_wait=True, until=step.due_at)
    return Line(step.at, "i-wait", "queued", "Waited", why, took=duration(step.seconds), is_wait=True)


def _why_waited(step: Step) -> str:
    """Return what the job waited for: its due time, a worker, or one after the other."""
    words, until_due = WHY[step.why or Why.NOT_KNOWN], _UNTIL_DUE.get(step.why or Why.NOT_KNOWN)
    if step.why == Why.TURN and step.due_at is None and step.seconds is not None and step.seconds < 1:
        return "for a worker"
    if step.due_at is None or until_due is None:
        return words
    planned = (step.due_at - step.at).total_seconds()
    if planned < 0.001:
        return "for a worker"
    if step.seconds is None:
        return words
    rest = step.seconds - planned
    return (
        f"for {until_due}, {duration(planned)}, then {duration(rest)} for a worker" if rest > 0 else f"for {until_due}"
    )


def _began(step: Step) -> Line:
    return Line(step.at, "s-running", "running", f"{_attempt(step)} started", _on(step))


def _failed(step: Step) -> Line:
    return Line(step.at, "s-failed", "failed", f"{_attempt(step)} failed", _on(step), step.error or "", _ran(step))


def _back(step: Step) -> Line:
    how = "was snoozed" if step.what == What.SNOOZED else "was returned to its queue"
    return Line(step.at, "s-retrying", "retrying", f"{_attempt(step)} {how}", _on(step), took=_ran(step))


def _asked(step: Step) -> Line:
    return Line(step.at, "i-person", "cancelled", "Cancel requested", by=step.by or "")


def _retried(step: Step) -> Line:
    return Line(step.at, "i-person", "retrying", "Retried", by=step.by or "")


def _succeeded(step: Step) -> Line:
    return Line(step.at, "s-succeeded", "succeeded", "Succeeded", _on(step), took=_ran(step))


def _failed_permanent(step: Step) -> Line:
    return Line(step.at, "s-failed", "failed", "Failed permanently", _on(step), step.error or "", _ran(step))


def _cancelled(step: Step) -> Line:
    return Line(
        step.at,
        "s-cancelled",
        "cancelled",
        "Cancelled",
        "" if step.by else _on(step),
        took=_ran(step),
        by=step.by or "",
    )


def _runs_not_kept(step: Step) -> Line:
    return Line(step.at, "i-audit", "queued", f"{count(step.count or 0, 'earlier attempt')}, no longer kept")


def _acts_not_kept(step: Step) -> Line:
    return Line(step.at, "i-audit", "queued", "Earlier actions of operators are not shown")


def _act(step: Step) -> Line:
    head = ACTS.get(step.what, step.what.replace("_", " ").capitalize())
    return Line(step.at, "i-person", "queued", head, by=step.by or "")


_LINES: Mapping[str, Callable[[Step], Line]] = {
    What.ENQUEUED: _enqueued,
    What.WAITED: _waited,
    What.BEGAN: _began,
    What.FAILED: _failed,
    What.SNOOZED: _back,
    What.GIVEN_BACK: _back,
    What.PUT_BACK: _back,
    What.CANCEL_REQUESTED: _asked,
    What.RETRIED: _retried,
    What.SUCCEEDED: _succeeded,
    What.FAILED_PERMANENT: _failed_permanent,
    What.CANCELLED: _cancelled,
    What.RUNS_NOT_KEPT: _runs_not_kept,
    What.ACTS_NOT_KEPT: _acts_not_kept,
}
