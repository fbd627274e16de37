"""The JSON parser: what it takes, what it refuses, where it says the fault is, and that nothing makes it slow."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier.requests.invalid import Malformed, TooLarge
from haulier.requests.strict_json import elements, parse

VALUES: list[tuple[bytes, object]] = [
    (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
    (b"18446744073709551615", 2**64 - 1),
    (b"-9223372036854775808", -(2**63)),
    (b"1e308", 1e308),
    (b'"\\ud83d\\ude9a"', "\N{DELIVERY TRUCK}"),
    ('"né"'.encode(), "né"),
    (b" \t\r\n{} ", {}),
    (b'{"a": 1, "b": {"a": 2}}', {"a": 1, "b": {"a": 2}}),
    (b'"\\\\u0000"', "\\u0000"),
]


def test_it_takes_json() -> None:
    assert [parse(text) for text, _ in VALUES] == [value for _, value in VALUES]


def test_it_takes_an_integer_however_it_is_written() -> None:
    values = parse(b"[3.0, 3e0, 30e-1, 3.5]")

    assert [type(each) for each in values] == [int, int, int, float]


REFUSED = [
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
    (b'{"a": {"b": 18446744073709551616}}', "at a.b: the integer needs more than 64 bits"),
    (b'{"a": -9223372036854775809}', "at a: the integer needs more than 64 bits"),
    (b'{"a": ' + b"7" * 5000 + b"}", "at a: the integer needs more than 64 bits"),
    (b'{"a": "x\\u0000y"}', "at a: the string contains NUL"),
    (b'{"a": {"\\u0000": 1}}', 'at a: the key "\\x00"'),
    (b'{"a": ["\\ud800"]}', "at a[0]: the string contains NUL or half of a surrogate pair"),
    (b'{"a": "\\udc00\\ud800"}', "half of a surrogate pair"),
    (b'{"a": {"b": 1, "b": 2}}', 'at a: the key "b" is duplicated'),
    (b'{"a": 1, "\\u0061": 2}', 'at the top level: the key "a" is duplicated'),
    (b'{"a": "\x00"}', "is not JSON"),
    (b"[" * 100_000 + b"]" * 100_000, "more than 64 levels"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 64 levels"),
    (b"[" * 65 + b"]" * 65, "more than 64 levels"),
    (b"[" * 100_000, "more than 64 levels"),
]


def test_it_refuses_what_is_not_json_for_everyone_and_says_where() -> None:
    for text, reason in REFUSED:
        with pytest.raises(Malformed) as refused:
            parse(text)

        assert reason in str(refused.value), text[:40]
        assert len(str(refused.value)) < 300


def test_it_takes_sixty_four_levels() -> None:
    value = parse(b"[" * 64 + b"]" * 64)

    assert isinstance(value, list)


def test_a_mebibyte_of_anything_takes_well_under_a_second() -> None:
    texts = [
        b"[" + b",".join([b"7" * 5000] * 200) + b"]",
        b"7" * 1_000_000,
        b"1." + b"7" * 1_000_000,
        b'["' + b"\\u00e9" * 160_000 + b'"]',
        b"[" + b",".join([b'{"a":1,"a":2}'] * 70_000) + b"]",
        b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}",
        b"[" + b"[]," * 300_000 + b"[]]",
    ]
    for text in texts:
        began = time.process_time()

        with contextlib.suppress(Malformed):
            parse(text)

        assert time.process_time() - began < 1.0, text[:40]


ARRAYS = [
    b"[]",
    b" [ ] ",
    b"[1]",
    b' \n[{"a": [1, "]", "\\"", {}]}, null, -1.5e3,\t"x,\\\\" ]\r\n',
    '["né", "\N{DELIVERY TRUCK}", "\\ud83d\\ude9a"]'.encode(),
]
BROKEN = [
    *(b"[", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1] 2", b"[1}", b'["x]', b"[1, tru]", b"[1, nul", b"[1e400]"),
    *(b"[\n 1,\n 01]", b"[{}, {'a': 1}]", b'["\xff"]', b'[1, "\\ud800"]', b'[1, {"a": 1, "a": 2}]', b"[1, [0, NaN]]"),
    b"[" + b"[" * 65 + b"]" * 66,
]


def test_it_takes_the_elements_of_an_array_one_by_one() -> None:
    for text in ARRAYS:
        assert [list(elements(text, longest=longest)) for longest in (40, 1000)] == [parse(text)] * 2


def test_it_says_the_same_of_an_array_one_by_one() -> None:
    for text in (b"[" + b"1,\n" * before + broken[1:] for broken in BROKEN for before in (0, 100)):
        with pytest.raises(Malformed) as whole:
            parse(text)

        with pytest.raises(Malformed) as refused:
            list(elements(text, longest=140))

        # The array is one level more, so that as many are left for an element.
        assert str(refused.value) == str(whole.value).replace("64 levels", "65 levels")


def test_it_takes_sixty_four_levels_in_an_array() -> None:
    assert len(list(elements(b"[" + b"[" * 64 + b"]" * 64 + b"]", longest=1000))) == 1


def test_it_gives_the_first_elements_before_it_reads_the_last() -> None:
    found = elements(b"[1, 2, oh no", longest=1000)

    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(Malformed):
        next(found)


def test_it_refuses_an_element_that_is_too_long_wherever_it_stands() -> None:
    long = [b'"%s"' % (b"x" * 50), b"[%s]" % b",".join([b"1"] * 40), b"7" * 19 + b" " * 50]
    for element in (*long, b'"%s"' % (b"\\u00e9" * 20)):
        size = len(element.strip())
        for before in range(60):
            text = b"[" + b" " * before + b"1, " + element + b", 2]"

            fits = list(elements(text, longest=size))
            with pytest.raises(TooLarge) as refused:
                list(elements(text, longest=size - 1))

            assert fits == parse(text), (element, before)
            assert "at [1]" in str(refused.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(st.recursive(st.none() | st.integers(-9, 9) | st.floats(0, 1) | TEXT, st.lists, max_leaves=5)))
def test_it_takes_any_elements_however_the_text_is_cut(values: list[Any]) -> None:
    texts = [json.dumps(value).encode() for value in values]

    for longest in (max(map(len, texts), default=0), 10_000):
        assert list(elements(b"[" + b",".join(texts) + b"]", longest=longest)) == parse(b"[" + b",".join(texts) + b"]")
