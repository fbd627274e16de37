"""Texts: what is shown to people, percentiles of a histogram included, and the fingerprint of an error. It ..."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier.domain.fingerprint import MOST_CHARACTERS, OTHER_TEXT, fingerprint, normalised, other_errors
from haulier.domain.histogram import DIGITS, LEAST_BUCKET, MOST_BUCKET, percentile, percentiles, unpacked
from haulier.domain.text import cut, duration, number, share, size

DURATIONS = {
    None: "–", -3: "0 ms", 0: "0 ms", 0.34: "340 ms", 0.9996: "1.0 s", 4.2: "4.2 s", 9.96: "10 s", 59.4: "59 s",
    59.99: "60 s", 60: "1 min", 372: "6 min 12 s", 3599.6: "1 h", 12_000: "3 h 20 min", 86_400: "24 h",
    172_799: "47 h 59 min", 172_800: "2 days", 345_600: "4 days",
}  # fmt: skip


def test_cuts_what_is_longer_and_says_so_within_the_length() -> None:
    texts = {
        "": "", "exactly 10": "exactly 10", "more than 10": "more than…", "eight or nine": "eight or…",
        "ä" * 11: "ä" * 9 + "…",
    }  # fmt: skip

    assert {text: cut(text, 10) for text in texts} == texts


def test_writes_sizes_as_postgres_does() -> None:
    sizes = {0: "0 bytes", 10_239: "10239 bytes", 10_240: "10 kB", 3 * 2**30: "3072 MB", 2**60: "1048576 TB"}

    assert {byte_count: size(byte_count) for byte_count in sizes} == sizes


def test_writes_numbers() -> None:
    numbers = {None: "–", 0: "0", 1284: "1,284", 9_999_999: "9,999,999", 10_100_000: "10.1 M", -2e7: "-20.0 M"}

    assert {value: number(value) for value in numbers} == numbers


def test_writes_shares() -> None:
    shares = {
        (0, 0): "–", (1, 0): "–", (0, 9): "0.0 %", (1, 5000): "< 0.1 %", (3, 1000): "0.3 %", (91, 100): "91 %",
    }  # fmt: skip

    assert {(part, whole): share(part, whole) for part, whole in shares} == shares


def test_writes_durations() -> None:
    assert {seconds: duration(seconds) for seconds in DURATIONS} == DURATIONS


def bucket_of(seconds: float) -> int:
    return math.floor(3 * math.log2(1000 * seconds))


def test_are_within_12_percent_of_a_duration_anywhere_in_its_bucket():
    for exponent in range(-40, 200, 7):
        seconds = 0.001 * 2 ** (exponent / 10)
        shares = [percentile({bucket_of(seconds): 9}, share) for share in (0.5, 0.95, 1.0)]
        assert shares == [pytest.approx(seconds, rel=0.12)] * 3


def test_are_the_duration_of_the_job_at_their_place():
    buckets = {bucket_of(0.01): 90, bucket_of(1.0): 9, bucket_of(100.0): 1}

    found = percentiles(buckets, [0.5, 0.9, 0.91, 0.99, 0.995])

    assert found == [pytest.approx(true, rel=0.12) for true in (0.01, 0.01, 1.0, 1.0, 100.0)]
    assert percentile({}, 0.5) is None


def test_have_buckets_from_microseconds_to_weeks():
    assert (bucket_of(0.0000626), bucket_of(86_400 * 49)) == (LEAST_BUCKET, MOST_BUCKET - 1)


def test_are_unpacked_from_their_numbers_and_from_sums_of_them():
    most = 10**DIGITS - 1
    for buckets in ({}, {LEAST_BUCKET: 1}, {0: 7, 1: 1}, {LEAST_BUCKET: most, 3: 20, MOST_BUCKET: most}):
        packed = [jobs * 10 ** (DIGITS * (bucket - LEAST_BUCKET)) for bucket, jobs in buckets.items()]
        assert unpacked(str(sum(packed))) == buckets


UUID_TEXT = "01a2108e-9bc5-7a10-8f00-0123456789ab"


TEXTS_OF_ERRORS = {
    "ValueError: no luck": "ValueError: no luck",
    "  ValueError: first\nsecond": "ValueError: first",
    "": "",
    "no row 4711 of 1,000.5": "no row … of …",
    "-5 is less than 0, and [-1, 2e-7] too": "… is less than …, and […, …] too",
    "user_17 of worker-3": "user_… of worker-…",
    f"no order {UUID_TEXT}": "no order …",
    "commit 9bc57a10 of 0xDEADBEEF and deadbeef": "commit … of … and deadbeef",
    "<Order object at 0x7f3c2a>": "<Order object at …>",
    "KeyError: 'abc' (handlers2.py:42)": "KeyError: '…' (handlers2.py:…)",
    "can't open \"a 7\" or `c` or “d” or b'e'": "can't open \"…\" or `…` or “…” or b'…'",
    "it's Ann's": "it's Ann's",
    "no mailbox ann.b+c@mail.example.com here": "no mailbox … here",
    "GET https://api2.example.com:8443/orders/7?x=1#f gave 503": "GET https://api2.example.com:…/… gave …",
    "https://ann:secret@api.example.com/": "https://api.example.com/",
    "timed out: https://api.example.com": "timed out: https://api.example.com",
    "Pool(host='db1.example.com', port=5432): refused": "Pool(host='db1.example.com', port=…): refused",
    "db1.example.com:5432 refused": "db1.example.com:… refused",
    "timed out after 60 s": "timed out after … s",
}


def test_leaves_out_what_differs_and_keeps_the_rest():
    assert {error: normalised(error) for error in TEXTS_OF_ERRORS} == TEXTS_OF_ERRORS


def test_is_another_for_another_kind_host_file_or_exception():
    texts = ["A: b (c.py:1)", "B: b (c.py:1)", "A: b (d.py:1)", "https://x.example/a", "https://y.example/a"]
    found = [fingerprint(kind, text) for kind in ("mail", "hook") for text in [*texts, OTHER_TEXT]]

    assert len({each.id for each in found}) == len(found)
    assert all(-(2**63) <= each.id < 2**63 for each in found)
    assert other_errors("mail") == fingerprint("mail", OTHER_TEXT)


def test_stays_what_it_is_from_release_to_release():
    assert fingerprint("mail", "no luck 7") == (STORED, "mail", "no luck …")


# The first 8 bytes of the SHA-256 of "1\nmail\nno luck …".
STORED = -8622397945831965242

PIECES = st.sampled_from(
    ["http://", "h1", "/a", "@", "b.c", "'", '"', "12", "…", "abcdefab", "x.py", ":", "-", " ", "é", "deadbee1", "0x1f"]
    + ["e", "host=", "`", "“", "”", ".", "(", "a" * 90, "\\", "\n", "ab'c", "?", "#", "=", "«", "»"]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text())


@given(TEXTS)
def test_of_its_own_text_makes_the_same(error):
    text = normalised(error)

    assert normalised(text) == text
    assert len(text) <= MOST_CHARACTERS
    assert "\n" not in text


WORDS = st.sampled_from(["refused", "by", "host", "ValueError:", "(step.py:", "of"])


@given(st.lists(WORDS, min_size=1), st.lists(st.integers(0, 10**12), min_size=2, max_size=2), st.data())
def test_two_that_differ_only_in_their_numbers_share_one(words, numbers, data):
    place = data.draw(st.integers(0, len(words)))
    one, other = (" ".join([*words[:place], str(number), *words[place:]]) for number in numbers)

    assert fingerprint("mail", one) == fingerprint("mail", other)


HOSTILE = [
    *("'", "a@", "1", "a.", "http://", "-", "x.py:", "'a", "0x", "host='", "`\"'", "e1", "a", ".", "abcdef", "a+", "“"),
    *("f1-", "1,", "@a", "a@b.", "//", "h://a@", "\\'", "Ä", "…"),
]


def test_takes_no_longer_for_a_hostile_text():
    slow = {}
    for piece in HOSTILE:
        began_at = time.process_time()
        normalised((piece * 4096)[:4096])
        slow[piece] = time.process_time() - began_at

    assert {piece: seconds for piece, seconds in slow.items() if seconds >= 0.05} == {}
