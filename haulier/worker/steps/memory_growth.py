"""Whether the memory of this process grows steadily past its usual size, as it does if a handler leaks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# All in regular heartbeats, of which a lease has three: 10 s by default. The usual size is the largest of the first two
# minutes of work, when modules are imported and pools are filled.
WARM_UP_BEATS = 12
# The floor is the least of the last sizes, so that a job that takes much memory for a short while does not count.
FLOOR_BEATS = 3
# Steady: the floor has risen at least three times, each time by this share of the usual size. One job that leaves its
# memory behind lifts it once or twice.
STEADY_RISES, RISE = 3, 0.02
# A process of 44 MB is named at 66 MB, and at least before 88. No least growth in MB: 64 MB would be more than twice.
GROWN = 1.5
# If it has not risen for six hours, what it has is its usual size.
SETTLED_BEATS = 2_160


@dataclass(slots=True)
class MemoryGrowth:
    """Learns the usual size of one process, and compares. Units: sizes are bytes."""

    # None while it is not known yet.
    usual: int | None = None
    _sizes: deque[int] = field(default_factory=lambda: deque(maxlen=FLOOR_BEATS))
    _beats: int = 0
    _top: int = 0
    _rises: int = 0
    _beats_since: int = 0

    @property
    def is_growing(self) -> bool:
        """Return whether the process has grown steadily to far more than its usual size, and still has all of it."""
        return self.usual is not None and self._rises >= STEADY_RISES and min(self._sizes) >= GROWN * self.usual

    def beat(self, size: int, *, has_worked: bool) -> bool:
        """Note the size at a heartbeat, and return whether it has risen; has_worked: a job has run here."""
        self._sizes.append(size)
        if self.usual is None:
            self._top = max(self._top, size)
            self._beats += has_worked
            if self._beats >= WARM_UP_BEATS:
                self.usual = self._top
            return False
        floor = min(self._sizes)
        is_rise = floor > self._top + RISE * self.usual
        self._beats_since = 0 if is_rise else self._beats_since + 1
        if is_rise:
            self._top = floor
            self._rises += 1
        elif self._beats_since >= SETTLED_BEATS:
            self.usual = self._top = floor
            self._rises = self._beats_since = 0
        return is_rise
