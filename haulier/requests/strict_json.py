"""The JSON that this API accepts: RFC 8259 in UTF-8, without values that other languages or Postgres cannot hold.

Python's own parser does the work; its hooks see every number, constant and object. In place of a value that they refuse
they put a `_Fault` into the tree, so that the message can say where the value is.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from haulier.domain.job import LEAST_INTEGER, MAX_DEPTH, MOST_EXACT, MOST_INTEGER, Json
from haulier.domain.text import cut
from haulier.requests.invalid import Malformed, TooLarge

# Of a name in a message.
MOST_SHOWN = 80

_SPACE, _SPACES = re.compile(r"[ \t\n\r]*"), (" ", "\t", "\n", "\r")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSTORABLE_ESCAPE = re.compile(r"\\u(0000|[dD][89a-fA-F])")


class _Fault:
    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse(raw: bytes, *, what: str = "the body") -> Json:
    """Return the value of a JSON text.

    `what` names the text in messages.
    Raises: Malformed, saying what is wrong and if.
    """
    text = _decoded(raw, what)
    try:
        value, end = _scan(text, _after_space(text, 0), what)
        if (rest := _after_space(text, end)) != len(text):
            raise json.JSONDecodeError("Extra data", text, rest)
    except json.JSONDecodeError as error:
        raise _not_json(what, error) from None
    except RecursionError:
        raise _too_deep(what, MAX_DEPTH) from None
    return value


def elements(raw: bytes, *, longest: int, what: str = "the body") -> Iterator[Json]:
    """Yield the elements of an array one after another: all at once, they may take thirty times the memory of the text.

    `raw` begins with a bracket; longest is how many characters an element may have.
    Raises: Malformed, saying what is wrong and if; TooLarge for an element, which is not read to its end.
    """
    text = _decoded(raw, what)
    window = _Window(text, longest, what)
    try:
        at = _after_space(text, text.index("[") + 1)
        is_open = not text.startswith("]", at)
        for index in count():
            if not is_open:
                break
            value, end = window.scan(at, index)
            yield value
            at, is_open = _after_element(text, end)
        if (rest := _after_space(text, at + 1)) != len(text):
            raise json.JSONDecodeError("Extra data", text, rest)
    except json.JSONDecodeError as error:
        raise _not_json(what, error) from None
    except RecursionError:
        # One more level: the array itself.
        raise _too_deep(what, MAX_DEPTH + 1) from None


def _after_element(text: str, end: int) -> tuple[int, bool]:
    """Return where the next element begins and True, or where the array ends and False."""
    at = _after_space(text, end)
    if text.startswith(",", at):
        comma, at = at, _after_space(text, at + 1)
        if text.startswith("]", at):
            raise _trailing_comma(text, comma, at)
        return at, True
    if not text.startswith("]", at):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return at, False


def _trailing_comma(text: str, comma: int, end: int) -> json.JSONDecodeError:
    # Releases of Python word this error differently, and report different places.
    try:
        json.loads(f"[0{text[comma:end]}]")
    except json.JSONDecodeError as error:
        return json.JSONDecodeError(error.msg, text, comma + error.pos - len("[0"))
    raise AssertionError("a comma before the end of an array was taken")


# The length of the longest token but strings and numbers. The window exceeds the longest element by this, so that no
# token of an allowed element is cut off.
_EDGE = len("-Infinity")


class _Window:
    """The part of a text that the parser sees, so that it does not read an element that is too long to its end."""

    def __init__(self, text: str, size: int, what: str) -> None:
        self._text, self._size, self._what = text, size, what
        self._move(0)

    def _move(self, start: int) -> None:
        end = start + self._size + _EDGE
        self._start, self._part, self._is_last = start, self._text[start:end], end >= len(self._text)

    def scan(self, start: int, index: int) -> tuple[Json, int]:
        """Return the element that begins at `start`, and where it ends."""
        offset = start - self._start
        try:
            value, end = _scan(self._part, offset, self._what, f"[{index}]")
            if end - offset <= self._size and (self._is_last or end <= len(self._part) - _EDGE):
                return value, self._start + end
        except json.JSONDecodeError as error:
            # An error in the last _EDGE characters may come from the window's end, as may that of a string without an
            # end. Any other is an error of the text.
            if self._is_last or not (error.msg.startswith("Unterminated") or error.pos > len(self._part) - _EDGE):
                raise json.JSONDecodeError(error.msg, self._text, self._start + error.pos) from None
        if self._start == start:
            raise TooLarge(f"{self._what} is too long at [{index}]: a job may have at most {self._size} bytes")
        self._move(start)
        return self.scan(start, index)


def _scan(text: str, start: int, what: str, place: str = "") -> tuple[Json, int]:
    """Return the value that begins at `start`, and where it ends. `place` is the value's own, for messages."""
    _hooks.has_refused = False
    value, end = _hooks.scan(text, start)
    # Counting brackets is cheap, and a text with few of them cannot be deep.
    if text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH and isinstance(value, dict | list):
        _check_depth(value)
    may_be_unstorable = text.find("\\u", start, end) >= 0 and _UNSTORABLE_ESCAPE.search(text, start, end)
    if (_hooks.has_refused or may_be_unstorable) and (fault := _first_fault(value)):
        path, reason = fault
        raise Malformed(f"{what} is refused at {(place + path).removeprefix('.') or 'the top level'}: {reason}")
    return value, end


def _decoded(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{what} is not UTF-8: byte {error.start}") from None


def _after_space(text: str, start: int) -> int:
    # Mostly there is none, and the look for that takes a third of the search.
    if not text.startswith(_SPACES, start):
        return start
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()


def _not_json(what: str, error: json.JSONDecodeError) -> Malformed:
    return Malformed(f"{what} is not JSON: {error.msg}, at line {error.lineno}, column {error.colno}")


def _too_deep(what: str, levels: int) -> Malformed:
    return Malformed(f"{what} is nested more than {levels} levels deep")


class _Hooks(threading.local):
    """The hooks that Python's parser calls while it reads. Each thread has its own, made once."""

    def __init__(self) -> None:
        # Whether a value was refused since the caller last set this to False.
        self.has_refused = False
        self.scan: Callable[[str, int], tuple[Json, int]] = json.JSONDecoder(
            object_pairs_hook=self.mapping, parse_int=self.integer, parse_float=self.real, parse_constant=self.constant
        ).raw_decode

    def fault(self, reason: str) -> _Fault:
        self.has_refused = True
        return _Fault(reason)

    def integer(self, digits: str) -> int | _Fault:
        # The length first: reading many digits takes quadratic time, and Python refuses more than 4,300.
        if len(digits) <= 20 and LEAST_INTEGER <= (number := int(digits)) <= MOST_INTEGER:
            return number
        return self.fault("the integer needs more than 64 bits")

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
        return self.fault(f"the key {_quoted(twice)} is duplicated")


_hooks = _Hooks()


def _check_depth(value: Json, levels: int = MAX_DEPTH) -> None:
    """Return unless the value has more levels. Raises: RecursionError."""
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list):
            if levels == 1:
                raise RecursionError
            _check_depth(child, levels - 1)


def _first_fault(value: Json) -> tuple[str, str] | None:
    """Return the path and the reason of the first refused value, in the order of the text."""
    if reason := _reason(value):
        return "", reason
    children: Iterable[tuple[str | int, Json]]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        if fault := _first_fault(child):
            at = f"[{step}]" if isinstance(step, int) else f".{_clean(step)}"
            return at + fault[0], fault[1]
    return None


def _reason(value: Json) -> str | None:
    if isinstance(value, _Fault):
        return value.reason
    if isinstance(value, str) and _UNSTORABLE.search(value):
        return "the string contains NUL or half of a surrogate pair"
    if isinstance(value, dict) and (bad := next(filter(_UNSTORABLE.search, value), None)):
        return f"the key {_quoted(bad)} contains NUL or half of a surrogate pair"
    return None


def _quoted(key: str) -> str:
    return f'"{_clean(key)}"'


def _clean(key: str) -> str:
    shown = key.encode("unicode_escape").decode("ascii") if _UNSTORABLE.search(key) else key
    return cut(shown, MOST_SHOWN)
