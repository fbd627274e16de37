"""Act on many rows at once; if the database refuses one of them, act on all others.

A batch that is refused is halved, down to the single row that is refused. That costs a few round trips, if acting on
one row after the other would cost one for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from haulier.domain.errors import Refusal, RefusedForNow
from haulier.postgres.errors import translated

T = TypeVar("T")
R = TypeVar("R")

# A statement that is refused only after this long has waited for something, such as a lock: its halves would wait too.
SLOW_SECONDS = 2.0
# After this many single refusals without one success, all other rows are taken to be refused too.
MOST_IN_VAIN = 20
# `in_order` skips this many: for each of them it locks all those before.
MOST_PASSED_OVER = 200


def by_halves(
    items: Sequence[T],
    act: Callable[[Sequence[T]], Sequence[R]],
    *,
    slow_seconds: float = SLOW_SECONDS,
    most_in_vain: float = MOST_IN_VAIN,
) -> list[R | Refusal]:
    """Act on the items, all at once if the database lets it, and return what became of each.

    After most_in_vain single refusals without one success, all other items are taken to be refused too.

    What `act` returned for the item, or the error with which the database refuses it. A refused call of `act` must
    leave nothing done: each call is a transaction, or within a savepoint.
    Raises: DatabaseUnavailable; also RefusedForNow, if a refusal took slow_seconds.
    """
    became: dict[int, R | Refusal] = {}
    todo, in_vain, is_all = [(0, len(items))] if items else [], 0, True
    while todo:
        start, end = todo.pop()
        began_at = time.monotonic()
        try:
            with translated():
                became.update(zip(range(start, end), act(items[start:end]), strict=True))
            is_all = False
        except Refusal as refused:
            if is_slow(refused, began_at, slow_seconds):
                raise
            if end - start > 1 and not (is_all and in_vain >= most_in_vain):
                middle = (start + end) // 2
                todo += [(middle, end), (start, middle)]
                continue
            became.update(dict.fromkeys(range(start, end), refused))
            in_vain += 1
    return [became[place] for place in range(len(items))]


def in_order(take: Callable[[int, int], int], at_once: int) -> tuple[int, Sequence[Refusal]]:
    """Take rows in their order, this many at once, until none is left; return how many, and why others are refused.

    Take(limit, offset) takes at most this many rows after this many others, in one transaction, and returns how many it
    took. These are the rows that are refused, and stay the first.
    Raises: Refusal, if more than MOST_PASSED_OVER rows are refused, or after SLOW_SECONDS; DatabaseUnavailable.
    """
    taken, limit, refusals = 0, at_once, list[Refusal]()
    while True:
        began_at = time.monotonic()
        try:
            with translated():
                some = take(limit, len(refusals))
        except Refusal as refused:
            if is_slow(refused, began_at) or len(refusals) == MOST_PASSED_OVER:
                raise
            if limit == 1:
                refusals.append(refused)
            limit = max(1, limit // 2)
            continue
        taken += some
        if some < limit:
            return taken, refusals
        limit = min(at_once, 2 * limit)


def is_slow(refused: Refusal, began_at: float, slow_seconds: float = SLOW_SECONDS) -> bool:
    """Return whether a statement that began then has waited for something, and its halves would wait too."""
    return isinstance(refused, RefusedForNow) and time.monotonic() - began_at >= slow_seconds
