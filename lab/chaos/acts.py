"""Checks that operators' acts were done once or not at all, are on record, and match what was previewed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from lab.chaos.load import Answer
from lab.chaos.operators import ACTS, FOREVER, MARKED, Act, place_of
from lab.chaos.witness import Operation, Recorded, Witness, Written

# The states in which a job can be acted on.
STATUSES = {
    "cancel": ("queued", "running", "retrying"),
    "change": ("queued", "retrying"),
    "retry": ("failed_permanent", "cancelled"),
    "delete": ("succeeded", "failed_permanent", "cancelled"),
}
ON_OPERATIONS = ("cancel_operation", "resume_operation")


class Effect(NamedTuple):
    """What was done to a job: the row after it, and before it as others had left it."""

    action: str
    after: Written
    before: Written | None

    @property
    def target(self) -> str:
        """Return the job that was acted on; of a copy, its original."""
        return self.after.copy_of or "" if self.action == "copy" else self.after.job

    @property
    def mark(self) -> int | None:
        """Return the mark that a single act gave."""
        return self.after.mark if self.action in MARKED else None


def breaches(witness: Witness, acts: Sequence[Act]) -> Iterator[tuple[str, str]]:
    """Yield each breach of the promises about operators' acts, as its name and what happened."""
    found = effects(witness.written)
    operation_of = {tx: operation.id for operation in witness.operations for tx in operation.chunks}
    by_operation: dict[str | None, list[Effect]] = defaultdict(list)
    for effect in found:
        by_operation[operation_of.get(effect.after.tx)].append(effect)
    for operation in witness.operations:
        yield from _of_operation(operation, by_operation[operation.id])
    jobs = {each.job for each in witness.written}
    yield from _of_single_acts(by_operation[None], [each for each in acts if each.target in jobs])
    yield from _on_record(by_operation[None], [each for each in witness.recorded if each.target in jobs])
    yield from _operations_on_record(witness, acts)


def effects(written: Sequence[Written]) -> list[Effect]:
    """Return what operators did to jobs, in order, of all that was written."""
    again = {(each.tx, each.job) for each in written if each.what == "retry"}
    found = []
    # Of each job the last write, and the last of another transaction than that.
    last: dict[str, tuple[Written, Written | None]] = {}
    for each in written:
        newest, before = last.get(each.job, (None, None))
        before = before if newest is not None and newest.tx == each.tx else newest
        last[each.job] = each, before
        action = "delete" if each.what == "gone" else each.what
        if action in ("copy", *STATUSES) and (each.what != "gone" or (each.tx, each.job) not in again):
            found.append(Effect(action, each, before))
    return found


def wanted(written: Sequence[Written]) -> Mapping[str, str]:
    """Return for each job that was cancelled or retried which of these was last."""
    return {each.target: each.action for each in effects(written) if each.action in ("cancel", "retry")}


def ends_of(last_act: str | None, times: int) -> tuple[str, ...]:
    """Return how a job of c.acted has to end, by what was last done to it and how often it goes wrong."""
    if last_act == "cancel":
        return ("cancelled",)
    return ("failed_permanent",) if times >= FOREVER else ("succeeded",)


def may_be_refused(answer: Answer, witness: Witness, accepted: Container[str]) -> bool:
    """Return whether what was to be acted on may have been in another state by then, or gone."""
    if answer.call in ("enqueue", "batch"):
        # The first request of a key was not answered, and an operator has deleted its job since.
        gone = (each.job for each in witness.written if each.what == "gone")
        return answer.status == 409 and any(job_id not in accepted for job_id in gone)
    return answer.status in (404, 409) and (answer.call in ACTS or answer.call in ON_OPERATIONS)


def figures(witness: Witness, acts: Sequence[Act]) -> dict[str, Any]:
    """Return how much operators did: the answers of each call, and the operations of each action."""
    operations: dict[str, Counter[str]] = defaultdict(Counter)
    for each in witness.operations:
        operations[each.action].update(
            {"operations": 1, each.status: 1, "jobs": each.done, "skipped": each.skipped, "matched": each.matched}
        )
    answered: dict[str, Counter[str]] = defaultdict(Counter)
    for act in acts:
        answered[act.action]["done" if act.is_done else "unknown" if act.is_unknown else "refused"] += 1
    return {
        "operations": {action: dict(found) for action, found in sorted(operations.items())},
        "acts": {action: dict(found) for action, found in sorted(answered.items())},
    }


def _of_operation(operation: Operation, done: Sequence[Effect]) -> Iterator[tuple[str, str]]:
    named = f"{operation.action} {operation.id}"
    if operation.status not in ("done", "cancelled"):
        yield "operation_did_not_end", f"{named}: {operation.status}, {operation.error}"
    added = operation.done + operation.skipped + operation.failed
    if operation.status == "done" and added != operation.matched:
        yield "operation_miscounted", f"{named}: {added} of {operation.matched}"
    if len(done) != operation.done or operation.failed:
        yield "operation_miscounted", f"{named}: {operation.done} done, {operation.failed} failed, {len(done)} seen"
    for job, times in Counter(effect.target for effect in done).items():
        if times > 1:
            yield "operation_acted_twice", f"{named}: {times} times on {job}"
    for effect in done:
        if effect.action != operation.action or not _was_previewed(operation, effect.before):
            yield "operation_acted_on_others", f"{named}: {effect}"


def _was_previewed(operation: Operation, before: Written | None) -> bool:
    if before is None or not operation.saw(before.tx) or before.status not in STATUSES[operation.action]:
        return False
    asked = {"tag": before.tag, "queue": before.queue, "status": before.status}
    return all(value in operation.filter[name] for name, value in asked.items() if name in operation.filter)


def _of_single_acts(found: Sequence[Effect], acts: Sequence[Act]) -> Iterator[tuple[str, str]]:
    done = Counter((each.action, each.target, each.mark) for each in found)
    answered = Counter((each.action, each.target, each.mark) for each in acts if each.is_done)
    unknown = Counter((each.action, each.target, each.mark) for each in acts if each.is_unknown)
    for act in {*done, *answered, *unknown}:
        if not answered[act] <= done[act] <= answered[act] + unknown[act]:
            told = f"{done[act]} times, of {answered[act]} answered and {unknown[act]} not"
            yield "act_not_done_once", f"{act}: {told}"
    for each in found:
        if each.mark is not None and (each.after.queue, each.after.priority) != place_of(each.mark):
            yield "act_not_done_once", f"{each.action} in part: {each.after}"


def _on_record(found: Sequence[Effect], recorded: Sequence[Recorded]) -> Iterator[tuple[str, str]]:
    done = Counter((each.after.tx, each.action, each.target, each.mark) for each in found)
    told = Counter((each.tx, each.action, str(each.target), each.mark) for each in recorded)
    for act in chain((done - told).elements(), (told - done).elements()):
        yield "act_not_on_record", f"{act}: done {done[act]} times, {told[act]} times on record"


def _operations_on_record(witness: Witness, acts: Sequence[Act]) -> Iterator[tuple[str, str]]:
    told = Counter((each.action, str(each.target)) for each in witness.recorded)
    known = {operation.id for operation in witness.operations}
    for operation in known:
        if told["operate", operation] != 1:
            yield "act_not_on_record", f"{told['operate', operation]} starts of {operation}"
    for act in acts:
        if act.action == "operate" and act.is_done and act.target not in known:
            yield "act_not_done_once", f"an operation that was started is not there: {act.target}"
    answered = Counter((each.action, each.target) for each in acts if each.is_done)
    unknown = Counter((each.action, each.target) for each in acts if each.is_unknown)
    for key in {*answered, *unknown, *told}:
        if key[0] in ON_OPERATIONS and not answered[key] <= told[key] <= answered[key] + unknown[key]:
            yield "act_not_on_record", f"{key}: {told[key]} times on record, of {answered[key]} answered"
