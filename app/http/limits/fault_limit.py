"""Limits how often something may fail in a second, for each address by itself, in one process."""

from __future__ import annotations

import threading
import time

# Addresses beyond this many share one account, until others have failed less for a while. Whoever has many addresses,
# as anybody has with IPv6, gets no more by them.
MOST_ADDRESSES, SWEEP_SECONDS = 1000, 1.0
OTHERS = ""


class Failures:
    """How often each address may still fail. Units: this many times a second, and `most` times at once."""

    def __init__(self, per_second: float, most: float) -> None:
        self._rate, self._most = per_second, most
        # What is left of each address's account, and when that was so; an account that is not here is full.
        self._left: dict[str, tuple[float, float]] = {}
        self._sweep_at = float("-inf")
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Return the seconds until the address may fail again; 0 if it may now."""
        with self._lock:
            left, _ = self._account(self._owner(address))
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def note(self, address: str) -> None:
        """Charge a failure to the address."""
        with self._lock:
            owner = self._owner(address)
            left, now = self._account(owner)
            self._left[owner] = (max(0.0, left - 1), now)

    def _account(self, owner: str) -> tuple[float, float]:
        now = time.monotonic()
        left, at = self._left.get(owner, (self._most, now))
        return min(self._most, left + (now - at) * self._rate), now

    def _owner(self, address: str) -> str:
        if address in self._left or len(self._left) < MOST_ADDRESSES:
            return address
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self._left = {owner: kept for owner, kept in self._left.items() if self._account(owner)[0] < self._most}
        return address if len(self._left) < MOST_ADDRESSES else OTHERS
