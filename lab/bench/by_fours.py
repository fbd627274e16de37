"""Measures two things by turns: the first, the second, the second, the first.

Two times differ in how fast the machine is just then; four turns in this order weigh what grows meanwhile on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

ORDER = (0, 1, 1, 0)


def whose_turn(n: int) -> int:
    """Return which of the two has the n-th turn."""
    return ORDER[n % len(ORDER)]


def by_fours(measure: Callable[[int], float], fours: int) -> tuple[list[float], list[float]]:
    """Return what is measured of 0 and of 1, a mean for each four turns."""
    return means([measure(place) for _ in range(fours) for place in ORDER])


def means(found: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the means of the first and of the second of each whole four turns."""
    whole = [found[at : at + 4] for at in range(0, len(found) - 3, 4)]
    return [(four[0] + four[3]) / 2 for four in whole], [(four[1] + four[2]) / 2 for four in whole]
