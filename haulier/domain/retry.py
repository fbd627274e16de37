"""When a failed job runs again: decorrelated jitter, the formula in one place."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a kind waits between attempts. Units: seconds."""

    base: float = 1.0
    cap: float = 60.0

    def next_sleep(self, previous: float | None, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Return the sleep before the next attempt, given the previous one (None before the first).

        Units:  seconds, from base to cap.
        Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (decorrelated).
        """
        # The previous sleep may be of another policy, with a lower base.
        longest = max(self.base, 3 * (previous or self.base))
        return min(self.cap, uniform(self.base, longest))
