"""JSON as the database keeps it, and as it is handed on: it ..."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from haulier.postgres.values import as_sent, read_json
from haulier.queue import search


def test_read_json_keeps_what_it_can_and_says_what_it_cannot():
    assert read_json('{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}
    assert read_json("9007199254740993") == 9007199254740993
    assert read_json("[1e400, -1e400]") == [1.7976931348623157e308, -1.7976931348623157e308]
    assert read_json("7" * 5000) == 1.7976931348623157e308
    assert read_json("-" + "7" * 5000) == -1.7976931348623157e308
    numbers = read_json("[18446744073709551615, 18446744073709551616, -9223372036854775808, -9223372036854776000]")
    assert numbers == [2**64 - 1, 2.0**64, -(2**63), -(2.0**63)]
    assert [type(each) for each in numbers] == [int, float, int, float]
    assert "RecursionError" in read_json("[" * 200_000)["unreadable"]


# As jsonb writes them: blanks behind colons and commas, and numbers without an exponent.
TEXTS = {
    "nothing in it": "{}",
    "short numbers": '{"n": [0, -1, 1.5, 1234567890123456, 0.12345678901234, 1.10, -0.0]}',
    "integers of 64 bits": '{"n": [18446744073709551615, -9223372036854775808, 9223372036854775807]}',
    "integers of more": '{"n": [18446744073709551616, -9223372036854775809, 100000000000000000000]}',
    "1e400": '{"n": [1' + "0" * 400 + ", -1" + "0" * 400 + "]}",
    "1e-400": '{"n": 0.' + "0" * 399 + "1}",
    "5,000 digits": "7" * 5000,
    "more digits than a double has": "[9007199254740993.0, 0.10000000000000000555111512312, -3.14159265358979323]",
    "a long number at the end": "[1, 12345678901234567890123]",
    "digits in strings": '{"12345678901234567890.5": "98765432109876543210", "a": 98765432109876543210}',
    "quotes and brackets in strings": r'{"a\"[1": "\\", "b": "]}\\\"", "n": 11111111111111111111}',
    "letters": '{"é": "日本 🚢\u2028", "n": 11111111111111111111.5}',
    "escapes": r'{"a": "\u0001\b\f\n\r\t\"", "n": 22222222222222222222}',
    "constants": "[null, true, false, 33333333333333333333, null]",
    "many containers": '{"a": [' + ", ".join(["[]", "{}"] * 500) + "]}",
    "many strings with brackets": "[" + ", ".join(['"[[[[{{{{"'] * 500) + "]",
    "64 levels": "[" * 64 + "]" * 64,
    "65 levels": "[" * 65 + "1.10" + "]" * 65,
    "2,000 levels": '{"a": ' * 1000 + "[" * 1000 + "]" * 1000 + "}" * 1000,
    "more levels than can be read": "[" * 200_000 + "]" * 200_000,
    "what a client has sent": '{"n":[1e+20,5e-324,1.7976931348623157e+308,1.2345678901234567e-05,-9.876543210987e-07]}',
}


def test_a_text_is_handed_on_as_what_is_read_of_it() -> None:
    wrong = {}
    for name, text in TEXTS.items():
        sent = as_sent(text.encode())
        # Not ==, to which 1 and 1.0 are the same.
        if repr(strict(sent)) != repr(json.loads(json.dumps(read_json(text)))):
            wrong[name] = sent[:100]

    assert wrong == {}


def strict(text: bytes) -> Any:
    """Return what a reader makes of it that takes numbers to the last digit; fail for what not everyone reads alike."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text.decode(), parse_constant=refuse)


NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=20).map(lambda number: f"{number:f}"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.text(st.sampled_from('0123456789.-"\\[]{},:éx🚢')).map(json.dumps), st.just("null")),
    lambda inner: st.one_of(
        st.lists(inner).map(lambda each: "[" + ", ".join(each) + "]"),
        st.lists(inner).map(lambda each: "{" + ", ".join(f'"{n}": {value}' for n, value in enumerate(each)) + "}"),
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(text=VALUES)
def test_so_is_any_text(text: str) -> None:
    assert repr(strict(as_sent(text.encode()))) == repr(json.loads(json.dumps(read_json(text))))


WIDE = {
    "containers": b"[" + b", ".join([b"[]"] * 87_000) + b"]",
    "containers and a long number": b"[" + b", ".join([b"[]"] * 87_000) + b", 1" + b"0" * 30 + b"]",
    "numbers": b"[" + b", ".join([b"1", b"-2.5"] * 40_000) + b"]",
    "names": b"{" + b", ".join(b'"%d": {}' % n for n in range(30_000)) + b"}",
}


def test_a_wide_text_is_handed_on_in_little_more_than_its_own_room() -> None:
    for name, text in WIDE.items():
        tracemalloc.start()
        try:
            as_sent(text)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # As objects they would take from 5 to 30 times their room.
        assert most < 3 * len(text) + 100_000, name


HARD_PAYLOADS = {
    "5,000 digits": '{"n": ' + "7" * 5000 + "}",
    "1e400": '{"n": 1e400, "m": -1e400}',
    "deep": '{"n": ' + "[" * 2000 + "]" * 2000 + "}",
    "tiny": '{"n": 1e-400}',
}


def test_reads_a_payload_that_an_insert_made_harder_than_json_parsers_like(conn, sql, claim):
    for payload in HARD_PAYLOADS.values():
        [[job_id]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('mail', %s) RETURNING id", payload)

        listed = search.get(conn, job_id)
        claimed = claim()

        assert isinstance(listed.payload, dict)
        assert json.dumps(listed.payload, allow_nan=False)
        assert json.loads(listed.payload_text) == listed.payload
        assert (claimed.id, claimed.payload) == (job_id, listed.payload)
