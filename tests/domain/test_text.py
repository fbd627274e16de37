"""What is shown to people: it ..."""

from __future__ import annotations

import pytest

from haulier.domain.text import cut, duration, number, share, size


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


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (1284, "1,284"), (9_999_999, "9,999,999"), (10_100_000, "10.1 M"), (-2e7, "-20.0 M")],
)
def test_writes_a_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, "–"), (1, 0, "–"), (0, 9, "0.0 %"), (1, 5000, "< 0.1 %"), (3, 1000, "0.3 %"), (91, 100, "91 %")],
)
def test_writes_a_share(part: float, whole: float, shown: str) -> None:
    assert share(part, whole) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((None, "–"), (-3, "0 ms"), (0, "0 ms"), (0.34, "340 ms"), (0.9996, "1.0 s"), (4.2, "4.2 s"), (9.96, "10 s")),
        *((59.4, "59 s"), (59.99, "60 s"), (60, "1 min"), (372, "6 min 12 s"), (3599.6, "1 h")),
        *((12_000, "3 h 20 min"), (86_400, "24 h"), (172_799, "47 h 59 min"), (172_800, "2 days"), (345_600, "4 days")),
    ],
)
def test_says_how_long_something_takes(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown
