"""The API keys that one process knows: each is looked up once in 5 s, with what is left of its rate for this second."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from haulier.domain.api_key import ApiKey
from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.statements import Connection
from haulier.queue.access import api_keys

from .limits.fault_limit import Failures
from .request_errors import RateLimited
from .service import CheckedDatabase

T = TypeVar("T")

# How long a key is not looked up again, and so how long a revoked key is still accepted.
KNOWN_SECONDS = 5.0
# A token that fits no known key is looked up, so that a new secret works at once. After a look-up that failed the id is
# not looked up again for this long.
TRIED_SECONDS = 0.2
# Clients can make up ids, so failed look-ups are limited: of one address this many a second, and this many at once.
# Beyond that the ids of all keys, read once in TRIED_SECONDS, show whether to look: guesses never keep a good key out.
GUESSES_PER_SECOND, MOST_GUESSES = 50.0, 500.0
# While the database is away known keys stay good, and the database is asked again after this; and so it is about a key
# whose new jobs another cell takes, which may be assigned back at any time.
AGAIN_SECONDS = 1.0
MOST_TRIED = 1000
TOUCH_SECONDS = 60.0
LOAN_SECONDS = 1.0
# The least pause after a loan of nothing; without it each refused request would be a statement.
PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class _Known:
    """A key, and until when it need not be looked up; at `ends` the key expires or changes, as the database said."""

    key: ApiKey
    until: float
    ends: float
    touched_at: float = float("-inf")


class Keyring:
    """Finds keys by their id."""

    def __init__(self, database: CheckedDatabase) -> None:
        self._database = database
        self._known: dict[str, _Known] = {}
        self._tried: dict[str, float] = {}
        self._guesses = Failures(GUESSES_PER_SECOND, MOST_GUESSES)
        self._ids: frozenset[str] = frozenset()
        self._ids_until = float("-inf")
        self._any: bool | None = None
        self._any_until = float("-inf")
        self._budgets: dict[str, _Budget] = {}

    def any_exist(self) -> bool:
        """Return whether a key was ever made. Raises: DatabaseUnavailable if no answer to that is known yet."""
        now = time.monotonic()
        if now >= self._any_until:
            try:
                self._any, self._any_until = self._ask(api_keys.any_exist), now + KNOWN_SECONDS
            except DatabaseUnavailable:
                if self._any is None:
                    raise
                self._any_until = now + AGAIN_SECONDS
        return bool(self._any)

    def find(self, key_id: str, token: str, *, address: str) -> ApiKey | None:
        """Return the key of this id if the token fits it, else None.

        Raises: DatabaseUnavailable if the key is not known; RateLimited for an id that no key has, after too many
                of those from the same address.
        """
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is not None and now < known.until and known.key.is_opened_by(token):
            return known.key
        if known is None or now < known.until:
            if now < self._tried.get(key_id, now):
                return None
            if (wait := self._guesses.wait(address)) and not self._is_id(key_id, now):
                raise RateLimited(
                    math.ceil(wait), "too many wrong API keys from this address: wait before you try again"
                )
        key = self._look_up(key_id, known, now)
        if key is not None and key.is_opened_by(token):
            return key
        self._guesses.note(address)
        if len(self._tried) >= MOST_TRIED:
            self._tried.clear()
        self._tried[key_id] = now + TRIED_SECONDS
        return None

    def _is_id(self, key_id: str, now: float) -> bool:
        """Return whether there is a key of this id, or was TRIED_SECONDS ago."""
        if now >= self._ids_until:
            self._ids, self._ids_until = self._ask(api_keys.list_ids), now + TRIED_SECONDS
        return key_id in self._ids

    def holding(self, key_id: str, token_hash: bytes) -> ApiKey | None:
        """Return the key of this id if that is the hash of a token of it that is good, else None.

        Only for ids and hashes that are stored here: a caller cannot choose them.
        Raises: DatabaseUnavailable if the key is not known.
        """
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is not None and now < known.until and known.key.has_hash(token_hash):
            return known.key
        key = self._look_up(key_id, known, now)
        return key if key is not None and key.has_hash(token_hash) else None

    def _look_up(self, key_id: str, known: _Known | None, now: float) -> ApiKey | None:
        try:
            found = self._ask(lambda conn: api_keys.find(conn, key_id))
        except DatabaseUnavailable:
            if known is None or now < known.until or now >= known.ends:
                raise
            known.until = min(now + AGAIN_SECONDS, known.ends)
            return known.key
        if found is None:
            self._known.pop(key_id, None)
            self._budgets.pop(key_id, None)
            return None
        ends = float("inf") if found.seconds is None else now + found.seconds
        touched_at = known.touched_at if known else float("-inf")
        known_seconds = KNOWN_SECONDS if found.key.moved_to is None else AGAIN_SECONDS
        self._known[key_id] = _Known(found.key, min(now + known_seconds, ends), ends, touched_at)
        return found.key

    def touch(self, key: ApiKey) -> None:
        """Note that the key is in use, once a minute; if the database is away, do nothing."""
        known, now = self._known.get(key.id), time.monotonic()
        if known is None or now < known.touched_at + TOUCH_SECONDS:
            return
        # Set before the call, so that other threads do not make it too.
        known.touched_at = now
        try:
            self._ask(lambda conn: api_keys.touch(conn, key.id))
        except DatabaseUnavailable:
            known.touched_at = float("-inf")

    def take(self, key: ApiKey) -> float:
        """Take one request from the key's rate and return 0; if none is left, return the seconds until there is."""
        if key.rate_limit is None:
            return 0.0
        budget = self._budgets.setdefault(key.id, _Budget())
        return budget.take(key, lambda asked, unused: self._borrow(key, asked, unused))

    def _borrow(self, key: ApiKey, asked: int, unused: int) -> api_keys.Loan:
        try:
            return self._ask(lambda conn: api_keys.borrow(conn, key, asked=asked, unused=unused))
        except DatabaseUnavailable:
            # Granted: requests that need the database fail there anyway.
            return api_keys.Loan(asked, 0.0)

    def _ask(self, what: Callable[[Connection], T]) -> T:
        with self._database.connection() as conn:
            return what(conn)


@dataclass(slots=True)
class _Budget:
    """The part of a key's rate that one process has borrowed; it asks for as much as it recently used in a second."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    left: int = 0
    asked: int = 1
    until: float = float("-inf")
    refused_until: float = float("-inf")

    def take(self, key: ApiKey, borrow: Callable[[int, int], api_keys.Loan]) -> float:
        assert key.rate_limit is not None
        with self.lock:
            now = time.monotonic()
            if now < self.refused_until:
                return self.refused_until - now
            if self.left == 0 or now >= self.until:
                used = self.asked - self.left
                # A loan that was used up before its time was too small: ask for twice as much.
                self.asked = min(2 * used if now < self.until else max(used, 1), max(1, math.ceil(key.rate_limit)))
                loan = borrow(max(self.asked, 1), self.left)
                self.left, self.until = loan.granted, now + LOAN_SECONDS
                if loan.granted == 0:
                    self.asked = max(self.asked, 1)
                    self.refused_until = now + max(loan.wait, PAUSE_SECONDS)
                    return max(loan.wait, PAUSE_SECONDS)
            self.left -= 1
            return 0.0
