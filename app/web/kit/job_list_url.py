"""The URL of the list of jobs: from a URL to a filter and back, and from the search box to a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields

from haulier.domain.job import WAITING_STATUSES, JobOrder, JobStatus
from haulier.requests.fields import Several, read_uuid
from haulier.requests.job_conditions import MAX_NAMES, PREFIX, JobConditions

from ..words.filters import read_duration, read_time

LIMITS = (25, 50, 100, 200)
DEFAULT_LIMIT = 50
# Other names of statuses that may be typed.
ALIASES = {"failed": str(JobStatus.FAILED_PERMANENT)}
_FIELDS = JobConditions().fields
# The times, and what the API calls them.
TIMES = {
    "after": "created_after",
    "before": "created_before",
    "ended_after": "finished_after",
    "ended_before": "finished_before",
}
# Filters whose value may be part of a text, or a name, which the search then looks up.
LOOKED_UP = ("error", "worker")
# The URL of a list keeps invalid words of the search box under this name.
UNREAD, MOST_TYPED, MOST_UNREAD = "unread", 1000, 300
TOO_OFTEN = "too many values"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Odd:
    """A filter that is not valid and is ignored."""

    name: str
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """The filters and the order of a list.

    `pairs` are the filters as in the URL; `odd` are the invalid ones. `sort` is an order; "" is newest first.
    """

    pairs: tuple[Pair, ...] = ()
    odd: tuple[Odd, ...] = ()
    limit: int = DEFAULT_LIMIT
    sort: str = ""

    def values(self, name: str) -> list[str]:
        """Return the values of a filter."""
        return [text for each, text in self.pairs if each == name]

    def value(self, name: str) -> str:
        """Return the value of a filter, or ""."""
        return next(iter(self.values(name)), "")

    @property
    def statuses(self) -> set[JobStatus]:
        """Return the statuses in the filter; none means any."""
        return {JobStatus(text) for text in self.values("status")}

    def without(self, name: str, text: str) -> list[Pair]:
        """Return the query of the same page without one filter, valid or not, newest first."""
        return [pair for pair in self.query(sort="") if pair != (name, text)]

    def query(self, sort: str | None = None) -> list[Pair]:
        """Return the query of this page without its place in the list, in this or another order."""
        limit = [] if self.limit == DEFAULT_LIMIT else [("limit", str(self.limit))]
        order = self.sort if sort is None else sort
        return [
            *self.pairs,
            *((each.name, each.text) for each in self.odd if sort is None or each.name != "sort"),
            *limit,
            *([("sort", order)] if order else []),
        ]

    def with_status(self, status: str | None) -> list[Pair]:
        """Return the query of the same page with this status, or with any, newest first."""
        kept = [pair for pair in self.query(sort="") if pair[0] != "status"]
        return kept if status is None else [("status", status), *kept]

    def in_order(self, sort: str) -> list[Pair] | None:
        """Return the query of this page in another order; None if its filters do not allow that order.

        The next jobs of a queue may be queued or retrying, so that order asks for both, and only for these.
        """
        look, order = self, JobOrder(sort)
        if order is JobOrder.DUE and self.statuses <= set(WAITING_STATUSES):
            both = [("status", str(each)) for each in WAITING_STATUSES]
            look = Look((*both, *(pair for pair in self.pairs if pair[0] != "status")), (), self.limit)
        names = {name for name, _ in look.pairs}
        return look.query(sort) if order.fits(names, look.statuses, look.values("queue")) else None

    def asked(self, zone: tzinfo, now: datetime) -> dict[str, Any]:
        """Return the filter in the form that functions that list jobs take."""
        given = {name: [_value(name, text) for text in self.values(name)] for name in NAMES if name in _FIELDS}
        return {
            **{name: (values if name in SEVERAL else values[0]) if values else None for name, values in given.items()},
            **{condition: _instant(self.value(name), zone, now) for name, condition in TIMES.items()},
        }

    @property
    def payload(self) -> list[tuple[str, list[str]]]:
        """Return the filters on payload fields."""
        return [(name, [text]) for name, text in self.pairs if name.startswith(PREFIX)]


def _of(pairs: Iterable[Pair], name: str) -> list[Pair]:
    return [pair for pair in pairs if pair[0] == name]


def _instant(text: str, zone: tzinfo, now: datetime) -> datetime | None:
    duration = read_duration(text)
    return now - duration if duration is not None else read_time(text, zone)


def _is_time(text: str) -> bool:
    return read_duration(text) is not None or read_time(text, UTC) is not None


# The filters in the order in which they are shown, and the fault of an invalid value.
FILTERS: Mapping[str, str] = {
    "status": "no such status",
    "kind": "not a valid kind name",
    "queue": "not a valid queue name",
    "tag": "not a valid tag",
    "error": "not an error id",
    "worker": "not a worker id",
    "key": "not a valid idempotency key",
    **dict.fromkeys(TIMES, "not a time (e.g. 2h or 2026-11-26T12:00)"),
}
NAMES = tuple(FILTERS)
# More than one value of these means any of them.
SEVERAL = tuple(name for name in NAMES if isinstance(_FIELDS.get(name), Several))


def _value(name: str, text: str) -> Any:
    """Return the value of a condition of the API. Raises: ValidationError."""
    condition = _FIELDS[name]
    if isinstance(condition, fields.UUID) and not read_uuid(text):
        raise condition.make_error("invalid_uuid")
    return (condition.inner if isinstance(condition, Several) else condition).deserialize(text)


def _is_value(name: str, text: str) -> bool:
    if name not in _FIELDS:
        return _is_time(text)
    try:
        _value(name, ALIASES.get(text, text) if name == "status" else text)
    except ValidationError:
        return False
    return True


def read_look(given: Iterable[tuple[str, list[str]]]) -> Look:
    """Return the filters and order in the parameters of a URL; other names are ignored."""
    pairs: list[Pair] = []
    odd: list[Odd] = []
    unread: list[str] = []
    limit, sort = DEFAULT_LIMIT, ""
    for name, texts in given:
        if name == "limit" and texts[0] in map(str, LIMITS):
            limit = int(texts[0])
        if name == "sort":
            sort = texts[0].strip()
        if name == UNREAD:
            unread += texts
        for text in dict.fromkeys(each.strip() for each in texts if each.strip()):
            if why := _fault(name, text, _of(pairs, name)):
                odd.append(Odd(name, text[:200], why))
            elif name in NAMES or name.startswith(PREFIX):
                pairs.append((name, ALIASES.get(text, text) if name == "status" else text))
    odd += _taken(" ".join(unread)[: 2 * MOST_TYPED], pairs)[1]
    order = {name: place for place, name in enumerate(NAMES)}
    # A status may be given under both of its names.
    pairs = sorted(dict.fromkeys(pairs), key=lambda pair: order.get(pair[0], len(order)))
    return _ordered(Look(tuple(pairs), tuple(odd[:MAX_NAMES]), limit), sort)


def _ordered(look: Look, sort: str) -> Look:
    """Return the filters with this order, if there is an index for it."""
    if not sort:
        return look
    fitting = look.in_order(sort) if sort in set(JobOrder) else None
    if fitting is not None and set(look.pairs) == {pair for pair in fitting if pair[0] in NAMES}:
        return replace(look, sort=sort)
    why: Mapping[str, str] = {
        JobOrder.DUE: "only for waiting jobs of one queue",
        JobOrder.STARTED: "only for running jobs",
    }
    return replace(look, odd=(*look.odd, Odd("sort", sort[:200], why.get(sort, "no such order"))))


def fits(name: str, text: str) -> bool:
    """Return whether the filter may have this value."""
    return not _fault(name, text, [])


def _fault(name: str, text: str, before: list[Pair]) -> str:
    if name not in FILTERS:
        return ""
    return _too_often(name, before) if _is_value(name, text) else FILTERS[name]


def _too_often(name: str, before: list[Pair]) -> str:
    return TOO_OFTEN if before and (name not in SEVERAL or len(before) >= MAX_NAMES) else ""


@dataclass(frozen=True, slots=True)
class Found:
    """The meaning of a text in the search box.

    `job` is the id of a job; otherwise `pairs` are the filters of a list, and `unread` are the invalid words.
    """

    job: UUID | None = None
    pairs: tuple[Pair, ...] = ()
    is_secret: bool = False
    unread: tuple[Odd, ...] = ()

    @property
    def query(self) -> list[Pair]:
        """Return the query of the list, including the invalid words."""
        return [*self.pairs, *((each.name, each.text) for each in self.unread)]


_WORDS = re.compile(r'(?P<name>[a-z][\w.]*)[:=](?P<text>"[^"]*"|\S+)|(?P<word>\S+)')


def read_search(text: str, held: Iterable[Pair] = ()) -> Found:
    """Return the meaning of the text, added to the current filters.

    A word without a filter name is a kind. A filter with one value takes the new one.
    """
    text = text.strip()[:MOST_TYPED]
    if _is_secret(text):
        return Found(is_secret=True)
    if job := read_uuid(text):
        return Found(job)
    named = {name for _, (name, _) in _words(text)}
    pairs, unread = _taken(text, [pair for pair in held if pair[0] in SEVERAL or pair[0] not in named])
    return Found(pairs=tuple(pairs), unread=tuple(unread[:MAX_NAMES]))


def _is_secret(text: str) -> bool:
    return "hlr_" in text


def _words(text: str) -> Iterator[tuple[str, Pair]]:
    """Yield each typed filter: its text, and its name and value."""
    for found in _WORDS.finditer(text):
        name, value = found["name"] or "kind", (found["text"] or found["word"]).strip('"')
        for each in value.split(",") if name in SEVERAL else [value]:
            if each:
                again = f'{name}:"{each}"' if re.search(r"\s", each) else f"{name}:{each}"
                yield found[0] if each == value else again, (name, each)


def _taken(text: str, before: Iterable[Pair]) -> tuple[list[Pair], list[Odd]]:
    """Return the filters after this was typed, and its invalid words; nothing of an API key."""
    pairs, odd = list(before), list[Odd]()
    if _is_secret(text):
        return pairs, odd
    for typed, pair in _words(text):
        why = "" if pair in pairs else _typed_fault(typed, pair, _of(pairs, pair[0]))
        if why:
            odd.append(Odd(UNREAD, typed[:MOST_UNREAD], why))
        elif pair not in pairs:
            pairs.append(pair)
    return pairs, odd


def _typed_fault(typed: str, pair: Pair, before: list[Pair]) -> str:
    name, text = pair
    if typed == text and typed.endswith((":", "=")):
        return "needs a value"
    if name.startswith(PREFIX):
        return _too_often(name, before) if all(name.split(".")) else "needs a payload field"
    if name not in NAMES:
        return f"unknown filter {name[:40]}"
    return _too_often(name, before) if name in LOOKED_UP else _fault(name, text, before)
