"""Texts that are too long to be shown whole: it ..."""

from __future__ import annotations

import pytest

from haulier.domain.text import cut, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("exactly 10", "exactly 10"),
        ("more than 10", "more than…"),
        ("eight or nine", "eight or…"),
        ("ä" * 11, "ä" * 9 + "…"),
    ],
)
def test_cuts_what_is_longer_and_tells_so_within_the_length(text: str, shown: str) -> None:
    assert cut(text, 10) == shown


@pytest.mark.parametrize(
    ("byte_count", "shown"),
    [(0, "0 bytes"), (10_239, "10239 bytes"), (10_240, "10 kB"), (3 * 2**30, "3072 MB"), (2**60, "1048576 TB")],
)
def test_says_sizes_as_postgres_does(byte_count: int, shown: str) -> None:
    assert size(byte_count) == shown
