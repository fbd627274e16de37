"""An outcome, made storable before it reaches the database: it ..."""

from __future__ import annotations

import json

import pytest

from haulier.domain.outcome import MAX_ERROR_BYTES, MAX_RESULT_BYTES, Outcome, Verb, clean


@pytest.mark.parametrize("result", [None, 0, "", [], {}, {"where": "file:out.png", "größe": [1, 2.5, None, True]}])
def test_keeps_a_result_that_is_json_as_it_is(result):
    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.COMPLETE
    assert json.loads(outcome.result) == result
    assert outcome.error is None


@pytest.mark.parametrize(
    "result",
    [
        object(),
        {"when": {1, 2}},
        {(1, 2): "a tuple for a key"},
        float("nan"),
        [float("inf")],
        "\ud800 alone",
        {"\udfff": 1},
        10**5000,
        b"bytes",
    ],
    ids=["object", "set", "key", "nan", "infinity", "surrogate", "surrogate-key", "5001-digits", "bytes"],
)
def test_fails_for_good_where_the_result_is_not_json(result):
    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.FAIL
    assert outcome.delay is None
    assert outcome.result is None
    assert "result is not JSON" in outcome.error


@pytest.mark.parametrize(
    "result",
    [10**4000, -(10**309), {"a": [1, 18 * 10**307]}, [10**308, "1" * 400, 10**400]],
    ids=["4001-digits", "negative", "nested", "beside-a-string"],
)
def test_fails_for_good_where_a_number_of_the_result_would_come_back_as_another(result):
    outcome = Outcome.complete(result)

    assert (outcome.verb, outcome.delay, outcome.result) == (Verb.FAIL, None, None)
    assert outcome.error == "the handler's result holds a number beyond the range of an IEEE double"


@pytest.mark.parametrize(
    "result",
    [10**308, -(10**308), 2**70, "7" * 5000, ["\\", '"' + "7" * 400], 1.7976931348623157e308],
    ids=["309-digits", "negative", "71-bits", "string", "behind-escapes", "largest"],
)
def test_keeps_a_result_whose_numbers_fit_a_double_and_digits_that_are_no_number(result):
    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.COMPLETE
    assert json.loads(outcome.result) == result


def test_fails_for_good_where_the_result_is_nested_without_end():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    endless: dict = {}
    endless["self"] = endless

    outcomes = [Outcome.complete(deep), Outcome.complete(endless)]

    assert [outcome.verb for outcome in outcomes] == [Verb.FAIL, Verb.FAIL]
    while deep:  # taken apart by hand, since freeing it by recursion would not be safe on every Python
        deep = deep.pop()


@pytest.mark.parametrize("result", ["a\x00b", {"a\x00": 1}, ["\\\x00"], "\\\\\x00", "\x00"])
def test_fails_for_good_where_the_result_holds_a_nul(result):
    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.FAIL
    assert "NUL" in outcome.error


@pytest.mark.parametrize("result", ["\\u0000", "\\\\u0000", {"C:\\u0000": "\\"}, "u0000", "\\\\\\u0000"])
def test_keeps_a_backslash_before_the_letters_u0000(result):
    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.COMPLETE
    assert json.loads(outcome.result) == result


def test_keeps_a_result_of_64_kib_and_fails_for_good_one_byte_above():
    fits, over = "x" * (MAX_RESULT_BYTES - 2), "x" * (MAX_RESULT_BYTES - 1)

    kept, refused = Outcome.complete(fits), Outcome.complete(over)

    assert kept.verb is Verb.COMPLETE
    assert refused.verb is Verb.FAIL
    assert "65537 bytes" in refused.error


def test_counts_a_result_in_bytes_not_in_characters():
    result = "é" * (MAX_RESULT_BYTES // 2)

    outcome = Outcome.complete(result)

    assert outcome.verb is Verb.FAIL


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\ufffdb"),
        ("lone \ud83d here", "lone ? here"),
        ("whole 😀", "whole 😀"),
        ("", ""),
    ],
)
def test_clean_keeps_what_postgres_can_hold(given, kept):
    cleaned = clean(given)

    assert cleaned == kept


@pytest.mark.parametrize("shift", range(4))
def test_clean_cuts_at_4_kib_between_two_characters(shift):
    text = "x" * shift + "😀" * 2000

    cleaned = clean(text)

    assert MAX_ERROR_BYTES - 4 < len(cleaned.encode()) <= MAX_ERROR_BYTES
    assert text.startswith(cleaned)


def test_clean_leaves_a_text_of_exactly_4_kib_alone():
    text = "é" * (MAX_ERROR_BYTES // 2)

    cleaned = clean(text)

    assert cleaned == text


def test_a_failure_carries_its_clean_error_its_delay_and_its_back_off():
    outcome = Outcome.fail("broken\x00", delay=3.0, backoff=3.0)

    assert outcome == Outcome(Verb.FAIL, error="broken\ufffd", delay=3.0, backoff=3.0)


def test_a_release_blames_nobody():
    outcome = Outcome.release(60)

    assert outcome == Outcome(Verb.RELEASE, delay=60)
