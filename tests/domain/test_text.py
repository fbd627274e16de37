"""Texts that are too long to be shown whole: it ..."""

from __future__ import annotations

import pytest

from haulier.domain.text import cut


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
