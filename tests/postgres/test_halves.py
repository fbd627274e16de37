"""Acting on many rows of which the database refuses some. It ..."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from haulier.domain.errors import DatabaseUnavailable, Refusal, RefusedForNow, RowRefused
from haulier.postgres.halves import MOST_IN_VAIN, MOST_PASSED_OVER, by_halves, in_order


class Table:
    """Numbers from 0 on, of which some are refused; it counts the calls."""

    def __init__(self, count: int, bad: Sequence[int], error: Exception | None = None) -> None:
        self.left = list(range(count))
        self.bad = set(bad)
        self.error = error or RowRefused("not this one")
        self.calls = 0

    def act(self, items: Sequence[int]) -> list[int]:
        """Take these numbers, or none of them."""
        self.calls += 1
        if self.bad & set(items):
            raise self.error
        self.left = [each for each in self.left if each not in items]
        return [each * each for each in items]

    def take(self, limit: int, offset: int) -> int:
        """Take some of the first numbers, or none of them."""
        return len(self.act(self.left[offset : offset + limit]))


def test_acts_on_the_others_in_few_calls():
    table = Table(100, [50])

    became = by_halves(range(100), table.act)

    assert isinstance(became[50], RowRefused)
    assert [each for each in became if not isinstance(each, Refusal)] == [n * n for n in range(100) if n != 50]
    assert (table.left, table.calls <= 16) == ([50], True)


def test_takes_all_as_refused_after_a_few_that_are():
    table = Table(10_000, range(10_000))

    became = by_halves(range(10_000), table.act)

    assert len(became) == 10_000
    assert all(isinstance(each, RowRefused) for each in became)
    assert table.calls < 4 * MOST_IN_VAIN


def test_takes_what_passes_as_any_other_refusal_but_not_an_outage():
    became = by_halves(range(4), Table(4, [2], RefusedForNow()).act)

    assert [isinstance(each, RefusedForNow) for each in became] == [False, False, True, False]
    with pytest.raises(DatabaseUnavailable):
        by_halves(range(4), Table(4, [2], DatabaseUnavailable()).act)


def test_goes_on_in_order_behind_those_that_are_refused():
    table = Table(1000, [0, 1, 500, 999])

    taken, refusals = in_order(table.take, 100)

    assert (taken, len(refusals), table.left) == (996, 4, [0, 1, 500, 999])


def test_gives_up_if_too_many_are_refused():
    table = Table(1000, range(1000))

    with pytest.raises(RowRefused):
        in_order(table.take, 100)

    assert table.calls <= MOST_PASSED_OVER + 10
