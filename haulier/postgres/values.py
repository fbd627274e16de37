"""Values on their way into a statement and out of a row; JSON is parsed into objects, or passed on as text.

Objects can take thirty times the memory of the text. So text that is only passed on is not parsed, but searched for
what a client's parser could fail at: an application's INSERT may have stored JSON that the API would have refused.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from haulier.domain.job import LEAST_INTEGER, MOST_INTEGER


def array(values: Iterable[object]) -> str:
    """Return the values as the text of a Postgres array; a list would be quoted by psycopg2, at ten times the cost."""
    elements = list(values)
    # In most columns of a batch all values are the same.
    if elements and elements.count(elements[0]) == len(elements):
        return "{" + ",".join([_element(elements[0])] * len(elements)) + "}"
    distinct = {value: _element(value) for value in set(elements)}
    return "{" + ",".join([distinct[value] for value in elements]) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def utc(instant: datetime) -> datetime:
    """Return the instant in UTC; psycopg2 gives it in the session's time zone, which PgBouncer does not let us set."""
    return instant.astimezone(UTC)


# Deeper than any client may send: such a text is parsed, to see whether that is possible at all.
_DEEP = 64

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
# At most a thousand strings at once: to remove them makes a small object for each.
_SOME = re.compile(rb'(?:[^"]++|' + _STRING + rb"){1,1000}+", re.DOTALL)
# A number of up to 16 digits is the same to a parser that reads doubles and to one that keeps all digits.
_LONG_RUN = re.compile(rb"[0-9][0-9.]{16}")
_UP_TO_LONG = re.compile(rb'(?:[^"0-9-]++|' + _STRING + rb"|-?[0-9][0-9.]{0,15}+(?![0-9.])|-(?![0-9]))*+", re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+")

_AS_LISTS = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(text: str) -> Any:
    """Return the JSON value; if our parser cannot read it, an object that says so and why."""
    try:
        # Not decode(): the server sends no text around the value.
        return _decoder.raw_decode(text)[0]
    except (ValueError, RecursionError) as error:
        return _unreadable(error)


def _unreadable(error: Exception) -> Any:
    return {"unreadable": f"{type(error).__name__}: {error}"}


def as_sent(text: bytes) -> bytes:
    """Return the JSON text that clients get: of the value that read_json returns, but unparsed if that is possible.

    UTF-8 in and out.
    """
    if _is_deep(text):
        return _rewritten(text)
    return _with_short_numbers(text) if _LONG_RUN.search(text) else text


def _rewritten(text: bytes) -> bytes:
    try:
        return _write(read_json(text.decode())).encode()
    except RecursionError as error:
        return _write(_unreadable(error)).encode()


def _is_deep(text: bytes) -> bool:
    # Counting is cheap, and a text with few brackets cannot be deep.
    if text.count(b"[") + text.count(b"{") <= _DEEP:
        return False
    brackets = bytearray()
    for some in _SOME.finditer(text):
        brackets += _STRINGS.sub(b"", some[0]).translate(_AS_LISTS, _ALL_BUT_BRACKETS)
    # Each round removes the innermost pairs.
    for _ in range(_DEEP):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _with_short_numbers(text: bytes) -> bytes:
    written = bytearray()
    at = 0
    while at < len(text):
        skipped = _UP_TO_LONG.match(text, at)
        begin = skipped.end() if skipped else at
        written += text[at:begin]
        number = _NUMBER.match(text, begin)
        if number is None:
            written += text[begin:]
            break
        written += _write(_read_number(number[0].decode())).encode()
        at = number.end()
    return bytes(written)


def _read_number(written: str) -> int | float:
    return _read_integer(written) if written.lstrip("-").isdigit() else _read_float(written)


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONG else _read_long(digits)


# An integer of this many characters may be outside the range that a client may send.
_LONG = len(str(LEAST_INTEGER))


def _read_long(digits: str) -> int | float:
    # jsonb writes 1e20 out in digits. Returned as an integer, the API would not accept it again.
    if len(digits) == _LONG and LEAST_INTEGER <= (number := int(digits)) <= MOST_INTEGER:
        return number
    return _read_float(digits)


def _read_float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else math.copysign(sys.float_info.max, number)


# Made once: json.loads and json.dumps make one for each call that has such options.
_decoder = json.JSONDecoder(parse_int=_read_integer, parse_float=_read_float)
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
