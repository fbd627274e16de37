"""The fingerprint of an error: it ..."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from haulier.domain.fingerprint import MOST_CHARACTERS, OTHER_TEXT, fingerprint, normalised, other_errors

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
