"""Acts on all jobs of a list: from the filter of its URL to an order, and from an operation to words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from haulier.domain.job import JobStatus, Json
from haulier.domain.operation import ACTS_ON, OperationAction
from haulier.logs import MASK
from haulier.queue.operations.operations import Order
from haulier.queue.search.job_filter import JobFilter
from haulier.requests.invalid import Invalid
from haulier.requests.job_conditions import PREFIX
from haulier.requests.operation_request import DEFAULT_WAIT_SECONDS, MAX_SPREAD_SECONDS

from ...http.filtering import filter_in_body
from ..kit.job_list_url import TIMES, Look, Pair, read_look
from ..words.filters import read_duration
from .change_form import read_changes

# What the form of an act sets in each job.
FIELDS = {"change": ("queue", "priority", "due"), "retry": ("queue", "priority", "max_attempts")}
# The times of the list of jobs, by what filters of operations call them.
_TIMES = {condition: name for name, condition in TIMES.items()}


@dataclass(frozen=True, slots=True)
class Verb:
    """An act on many jobs.

    The page on which it is confirmed shows `means`. `can_spread` is true if the jobs can become due evenly over some
    time.
    """

    name: str
    word: str
    action: OperationAction
    means: str
    can_spread: bool = False


VERBS: Mapping[str, Verb] = {
    each.name: each
    for each in (
        Verb(
            "retry",
            "Retry",
            OperationAction.RETRY,
            "Each job is queued with all its attempts. What you leave empty stays unchanged.",
            can_spread=True,
        ),
        Verb(
            "run-now",
            "Run now",
            OperationAction.CHANGE,
            "Each waiting job becomes due now, also if it is scheduled for later or waits for a retry.",
            can_spread=True,
        ),
        Verb(
            "cancel",
            "Cancel",
            OperationAction.CANCEL,
            "Waiting jobs are cancelled; you can retry them later. Running jobs are asked to stop.",
        ),
        Verb(
            "change",
            "Change",
            OperationAction.CHANGE,
            "Each waiting job gets new values. What you leave empty stays unchanged.",
            can_spread=True,
        ),
        Verb(
            "delete",
            "Delete",
            OperationAction.DELETE,
            "The jobs cannot be restored. Their idempotency keys stay taken.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Bulk:
    """An act and its filter `look`, in which every time is absolute."""

    verb: Verb
    look: Look

    @property
    def is_of_every_job(self) -> bool:
        """Return whether there is no filter."""
        return not self.look.pairs

    @property
    def query(self) -> list[Pair]:
        """Return the parameters of the list of jobs that shows the same."""
        return list(self.look.pairs)


def fitting(look: Look) -> list[Verb]:
    """Return the acts that the statuses in this filter allow."""
    statuses = {JobStatus(text) for text in look.values("status")} or set(JobStatus)
    return [verb for verb in VERBS.values() if ACTS_ON[verb.action] & statuses]


def read_bulk(given: Iterable[tuple[str, list[str]]], verb: str, zone: tzinfo, now: datetime) -> Bulk:
    """Return the act and filter of a form or a URL. Raises: Invalid, also if any filter is not valid."""
    look = read_look(given)
    if verb not in VERBS:
        raise Invalid({"action": ["Must be one of " + ", ".join(VERBS) + "."]})
    places = [name for name, _ in look.pairs if name.startswith(PREFIX)]
    odd = {each.name: [f"{each.text}: {each.why}."] for each in look.odd}
    odd |= {name: ["Must be given only once."] for name in places if places.count(name) > 1}
    if odd:
        # Ignoring an invalid filter would select more jobs than the person expects.
        raise Invalid(odd)
    return Bulk(VERBS[verb], Look(tuple(_fixed(pair, look.asked(zone, now)) for pair in look.pairs)))


def _fixed(pair: Pair, asked: Mapping[str, object]) -> Pair:
    for name, short in _TIMES.items():
        at = asked[name]
        if pair[0] == short and isinstance(at, datetime):
            return short, at.astimezone(UTC).isoformat()
    return pair


def filter_of(bulk: Bulk) -> JobFilter:
    """Return the filter of the jobs. Raises: Invalid."""
    # All its times are absolute by now.
    asked = bulk.look.asked(UTC, datetime.now(UTC))
    return filter_in_body(asked, {name: text for name, [text] in bulk.look.payload})


@dataclass(frozen=True, slots=True)
class Choices:
    """The other fields of the form: their texts, what they mean, and their faults."""

    values: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Json] = field(default_factory=dict)
    spread_seconds: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Return the text of a field."""
        return self.values.get(name, "")


def read_choices(given: Mapping[str, str], verb: Verb, zone: tzinfo) -> Choices:
    """Return the values of `to_queue`, `to_priority`, … and `spread`, if the verb has them."""
    values = {name: given.get(f"to_{name}", "").strip()[:200] for name in FIELDS.get(verb.name, ())}
    changed, faults = read_changes(values, zone)
    if verb.name == "run-now":
        changed = {"delay_seconds": 0}
    elif verb.name == "change" and not changed and not faults:
        faults["queue"] = "Fill in at least one field."
    spread = given.get("spread", "").strip()[:200] if verb.can_spread else ""
    seconds = _spread(spread, changed, verb, faults)
    return Choices({**values, "spread": spread}, changed, seconds, faults)


def _spread(text: str, changed: Mapping[str, Json], verb: Verb, faults: dict[str, str]) -> int:
    if not text:
        return 0
    found = read_duration(text)
    seconds = 0 if found is None else int(found.total_seconds())
    if found is None or seconds > MAX_SPREAD_SECONDS:
        faults["spread"] = "Must be a duration of at most 7 days, e.g. 10m or 2h."
    elif verb.action is OperationAction.CHANGE and not {"delay_seconds", "run_at"} & set(changed):
        faults["spread"] = "Only possible if Due is filled in."
    return seconds


def order_of(bulk: Bulk, choices: Choices, queues: Sequence[str] | None) -> Order:
    """Return the order. Raises: Invalid."""
    spread, changes = choices.spread_seconds, choices.changes
    return Order(bulk.verb.action, filter_of(bulk), queues, changes, spread, starts_in_seconds=DEFAULT_WAIT_SECONDS)


def told_of(stored: Mapping[str, Json]) -> tuple[list[Pair], list[Pair] | None]:
    """Return the filter of an operation in words, and the query of the list of jobs that shows the same, if one can."""
    pairs: list[Pair] = []
    for name, value in stored.items():
        texts = value if isinstance(value, list) else [value]
        pairs += [(_TIMES.get(name, name), str(text)) for text in texts if name != "all"]
    look = read_look((name, [text for each, text in pairs if each == name]) for name in dict(pairs))
    # What is masked would look for the mask.
    is_whole = len(look.pairs) == len(pairs) and MASK not in dict(pairs).values()
    return pairs, list(look.pairs) if is_whole else None
