"""When a failed job runs again: decorrelated jitter, the formula in one place."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a kind waits between attempts: at random, and longer after each failure.

    Attributes:
        base: The shortest wait, in seconds.
        cap: The longest wait, in seconds.
    """

    base: float = 1.0
    cap: float = 60.0

    def next_sleep(self, previous: float | None, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Return how many seconds to wait before the next attempt, from `base` to `cap`.

        Args:
            previous: The wait before this attempt, in seconds; None if it was the first attempt.
            uniform: Draws a number between two others.

        Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (decorrelated).
        """
        # The previous sleep may be of another policy, with a lower base.
        longest = max(self.base, 3 * (previous or self.base))
        return min(self.cap, uniform(self.base, longest))
