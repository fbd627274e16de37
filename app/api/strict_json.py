"""JSON as this API takes it: RFC 8259 in UTF-8, less what other languages, Postgres or a reader would trip over.

Python's own parser does the work; its hooks see every number, constant and object. What they refuse is left in the
tree as a `_Fault`, so that the message can say where it stands.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from app.api.errors import Malformed
from app.domain.job import Json

MAX_DEPTH = 64
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1
# Up to here a double holds every integer.
MOST_EXACT = 2**53

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSTORABLE_ESCAPE = re.compile(r"\\u(0000|[dD][89a-fA-F])")


class _Fault:
    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH, what: str = "the body") -> Json:
    """Return the value.

    Shape:  `what` names the text in messages.
    Raises: Malformed, saying what is wrong and where.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{what} is not UTF-8: byte {error.start}") from None
    hooks = _Hooks()
    try:
        value = hooks.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"{what} is not JSON: {error.msg}, at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Malformed(f"{what} is nested more than {max_depth} levels deep") from None
    # Counting is cheap, and a text with few brackets cannot be deep.
    if text.count("[") + text.count("{") > max_depth and _is_deeper(value, max_depth):
        raise Malformed(f"{what} is nested more than {max_depth} levels deep")
    if hooks.faults or _UNSTORABLE_ESCAPE.search(text):
        for path, reason in _faults(value):
            raise Malformed(f"{what} is refused at {path or 'its top'}: {reason}")
    return value


class _Hooks:
    """What Python's parser asks while it reads; `faults` is what was refused."""

    def __init__(self) -> None:
        self.faults: list[_Fault] = []

    def decode(self, text: str) -> Json:
        return json.JSONDecoder(
            object_pairs_hook=self.mapping, parse_int=self.integer, parse_float=self.real, parse_constant=self.constant
        ).decode(text)

    def fault(self, reason: str) -> _Fault:
        self.faults.append(_Fault(reason))
        return self.faults[-1]

    def integer(self, digits: str) -> int | _Fault:
        # The length first: reading 5,000 digits takes quadratic time, and Python refuses to.
        if len(digits) <= 20 and LEAST_INTEGER <= (number := int(digits)) <= MOST_INTEGER:
            return number
        return self.fault("the integer has more than 64 bits")

    def real(self, digits: str) -> float | int | _Fault:
        number = float(digits)
        if not math.isfinite(number):
            return self.fault("the number is too large for a double")
        # JSON has one kind of number: 3.0 is the integer 3, to JSON Schema too.
        return int(number) if number.is_integer() and abs(number) < MOST_EXACT else number

    def constant(self, name: str) -> _Fault:
        return self.fault(f"{name} is not JSON")

    def mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Fault:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        return self.fault(f"the key {_quoted(twice)} is given twice")


def _is_deeper(value: Json, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [child for each in level for child in _children(each) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _faults(value: Json) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) for what is refused, in the order of the text. Not recursive: the tree may be deep."""
    pending: list[tuple[tuple[Any, ...], Json]] = [((), value)]
    while pending:
        place, each = pending.pop()
        if isinstance(each, _Fault):
            yield _path(place), each.reason
        elif isinstance(each, str):
            if _UNSTORABLE.search(each):
                yield _path(place), "the string holds NUL or half of a surrogate pair"
        elif isinstance(each, list):
            pending.extend(((place, index), child) for index, child in reversed(list(enumerate(each))))
        elif isinstance(each, dict):
            if bad := next(filter(_UNSTORABLE.search, each), None):
                yield _path(place), f"the key {_quoted(bad)} holds NUL or half of a surrogate pair"
            pending.extend(((place, key), child) for key, child in reversed(list(each.items())))


def _path(place: tuple[Any, ...]) -> str:
    steps: list[str] = []
    while place:
        place, step = place
        steps.append(f"[{step}]" if isinstance(step, int) else f".{_clean(step)}")
    return "".join(reversed(steps)).removeprefix(".")


def _quoted(key: str) -> str:
    return f'"{_clean(key)}"'


def _clean(key: str) -> str:
    shown = key.encode("unicode_escape").decode("ascii") if _UNSTORABLE.search(key) else key
    return shown if len(shown) <= 80 else shown[:80] + "…"
