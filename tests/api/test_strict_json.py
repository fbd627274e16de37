"""The JSON parser: what it takes, what it refuses, where it says the fault is, and that nothing makes it slow."""

from __future__ import annotations

import contextlib
import time

import pytest

from app.api.errors import Malformed
from app.api.strict_json import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b'"\\ud83d\\ude9a"', "\N{DELIVERY TRUCK}"),
        ('"né"'.encode(), "né"),
        (b" \t\r\n{} ", {}),
        (b'{"a": 1, "b": {"a": 2}}', {"a": 1, "b": {"a": 2}}),
        (b'"\\\\u0000"', "\\u0000"),
    ],
)
def test_it_takes_json(text: bytes, value: object) -> None:
    assert parse(text) == value


def test_it_takes_an_integer_however_it_is_written() -> None:
    values = parse(b"[3.0, 3e0, 30e-1, 3.5]")

    assert [type(each) for each in values] == [int, int, int, float]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b"[1,]", "is not JSON"),
        (b'{"a": 01}', "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": [NaN]}', "at a[0]: NaN"),
        (b'{"a": Infinity}', "at a: Infinity"),
        (b'{"a": -Infinity}', "at a: -Infinity"),
        (b'{"a": 1e400}', "at a: the number is too large"),
        (b'{"a": {"b": 18446744073709551616}}', "at a.b: the integer has more than 64 bits"),
        (b'{"a": -9223372036854775809}', "at a: the integer has more than 64 bits"),
        (b'{"a": ' + b"7" * 5000 + b"}", "at a: the integer has more than 64 bits"),
        (b'{"a": "x\\u0000y"}', "at a: the string holds NUL"),
        (b'{"a": {"\\u0000": 1}}', 'at a: the key "\\x00"'),
        (b'{"a": ["\\ud800"]}', "at a[0]: the string holds NUL or half of a surrogate pair"),
        (b'{"a": "\\udc00\\ud800"}', "half of a surrogate pair"),
        (b'{"a": {"b": 1, "b": 2}}', 'at a: the key "b" is given twice'),
        (b'{"a": 1, "\\u0061": 2}', 'at its top: the key "a" is given twice'),
        (b'{"a": "\x00"}', "is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "more than 64 levels"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 64 levels"),
        (b"[" * 65 + b"]" * 65, "more than 64 levels"),
        (b"[" * 100_000, "more than 64 levels"),
    ],
)
def test_it_refuses_what_is_not_json_for_everyone_and_says_where(text: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text)

    assert reason in str(refused.value)
    assert len(str(refused.value)) < 300


def test_it_takes_sixty_four_levels() -> None:
    value = parse(b"[" * 64 + b"]" * 64)

    assert isinstance(value, list)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b",".join([b"7" * 5000] * 200) + b"]",
        b"7" * 1_000_000,
        b"1." + b"7" * 1_000_000,
        b'["' + b"\\u00e9" * 160_000 + b'"]',
        b"[" + b",".join([b'{"a":1,"a":2}'] * 70_000) + b"]",
        b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}",
        b"[" + b"[]," * 300_000 + b"[]]",
    ],
)
def test_a_mebibyte_of_anything_takes_well_under_a_second(text: bytes) -> None:
    began = time.process_time()

    with contextlib.suppress(Malformed):
        parse(text)

    assert time.process_time() - began < 1.0
