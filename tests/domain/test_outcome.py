"""How a run ends: an outcome, made storable before it reaches the database; back-off; and what a job is. It ..."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, JobStatus, NewJob
from haulier.domain.outcome import MAX_ERROR_BYTES, MAX_RESULT_BYTES, Outcome, Verb, clean
from haulier.domain.retry import RetryPolicy

KEPT = (
    *(None, 0, "", [], {}, {"where": "file:out.png", "größe": [1, 2.5, None, True]}),
    # Numbers that fit an IEEE double, and digits that are no number.
    *(10**308, -(10**308), 2**70, 1.7976931348623157e308, "7" * 5000, ["\\", '"' + "7" * 400]),
    # Backslashes before the letters u0000, which are no NUL.
    *("\\u0000", "\\\\u0000", {"C:\\u0000": "\\"}, "u0000", "\\\\\\u0000"),
)
REFUSED: dict[str, tuple[Any, ...]] = {
    "result is not JSON": (
        *(object(), {"when": {1, 2}}, {(1, 2): "a tuple for a key"}, b"bytes"),
        *(float("nan"), [float("inf")], "\ud800 alone", {"\udfff": 1}, 10**5000),
    ),
    "the handler's result holds a number beyond the range of an IEEE double": (
        *(10**4000, -(10**309), {"a": [1, 18 * 10**307]}, [10**308, "1" * 400, 10**400]),
    ),
    "NUL": ("a\x00b", {"a\x00": 1}, ["\\\x00"], "\\\\\x00", "\x00"),
}


def test_keeps_a_result_that_is_json_as_it_is():
    outcomes = [Outcome.complete(result) for result in KEPT]

    assert [result for result, outcome in zip(KEPT, outcomes, strict=True) if outcome.verb is not Verb.COMPLETE] == []
    assert [json.loads(outcome.result) for outcome in outcomes] == list(KEPT)


def test_fails_for_good_and_says_why_if_the_result_cannot_be_stored():
    wrong = []
    for reason, results in REFUSED.items():
        for result in results:
            outcome = Outcome.complete(result)
            if (outcome.verb, outcome.delay, outcome.result) != (Verb.FAIL, None, None) or reason not in outcome.error:
                wrong.append((reason, type(result), outcome))

    assert wrong == []


def test_fails_for_good_if_the_result_is_nested_without_end():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    endless: dict = {}
    endless["self"] = endless

    outcomes = [Outcome.complete(deep), Outcome.complete(endless)]

    assert [outcome.verb for outcome in outcomes] == [Verb.FAIL, Verb.FAIL]
    while deep:  # taken apart by hand, since freeing it by recursion would not be safe on every Python
        deep = deep.pop()


def test_keeps_a_result_of_64_kib_and_fails_for_good_one_byte_above():
    kept, refused = Outcome.complete("x" * (MAX_RESULT_BYTES - 2)), Outcome.complete("x" * (MAX_RESULT_BYTES - 1))
    of_two_bytes_each = Outcome.complete("é" * (MAX_RESULT_BYTES // 2))

    assert kept.verb is Verb.COMPLETE
    assert (refused.verb, of_two_bytes_each.verb) == (Verb.FAIL, Verb.FAIL)
    assert "65537 bytes" in refused.error


def test_cleans_a_text_of_what_postgres_cannot_hold():
    texts = {"": "", "plain": "plain", "a\x00b": "a\ufffdb", "lone \ud83d here": "lone ? here", "whole 😀": "whole 😀"}

    assert {text: clean(text) for text in texts} == texts


def test_cuts_a_text_at_4_kib_between_two_characters():
    for text in ("x" * shift + "😀" * 2000 for shift in range(4)):
        cleaned = clean(text)
        assert MAX_ERROR_BYTES - 4 < len(cleaned.encode()) <= MAX_ERROR_BYTES
        assert text.startswith(cleaned)
    of_4_kib = "é" * (MAX_ERROR_BYTES // 2)
    assert clean(of_4_kib) == of_4_kib


def highest(low: float, high: float) -> float:
    assert low <= high
    return high


def lowest(low: float, high: float) -> float:
    assert low <= high
    return low


def test_sleeps_from_base_to_three_times_the_previous_sleep_within_base_and_cap():
    policy = RetryPolicy(base=2.0, cap=60.0)
    # An older policy may have left a sleep below the base on the row.
    bounds = {
        None: (2.0, 6.0),
        7.0: (2.0, 21.0),
        59.0: (2.0, 60.0),
        0.9: (2.0, 2.7),
        0.001: (2.0, 2.0),
        0.0: (2.0, 6.0),
    }

    assert {
        previous: (policy.next_sleep(previous, lowest), round(policy.next_sleep(previous, highest), 6))
        for previous in bounds
    } == bounds


def test_grows_towards_the_cap_and_stays_within_its_bounds():
    policy, rng = RetryPolicy(), random.Random(4)

    sleeps = [policy.next_sleep(None, rng.uniform)]
    for _ in range(2000):
        sleeps.append(policy.next_sleep(sleeps[-1], rng.uniform))

    assert all(1.0 <= sleep <= 60.0 for sleep in sleeps)
    assert all(after <= 3 * before for before, after in zip(sleeps, sleeps[1:], strict=False))
    assert max(sleeps) == 60.0
    assert len({round(sleep, 6) for sleep in sleeps}) > 1000


MAIL = NewJob("send_email", {"to": "a@b.c", "subject": "Hi"}, tags=["vip", "nightly"])


def test_stays_the_same_from_release_to_release():
    fingerprint = replace(MAIL, tags=[]).fingerprint()

    # Stored fingerprints are compared with it: a new value here makes every replay a mismatch.
    assert fingerprint.hex() == "d4df18de7e889f51686cafc2cfde0444f0897a7a72c07713130439f78d90cacb"


def test_every_status_is_a_word_of_the_contract_and_either_live_or_final():
    words = [str(status) for status in JobStatus]

    assert words == ["queued", "running", "retrying", "succeeded", "failed_permanent", "cancelled"]
    assert sorted([*LIVE_STATUSES, *FINAL_STATUSES]) == sorted(JobStatus)
    assert [status for status in JobStatus if status.is_final] == list(FINAL_STATUSES)
