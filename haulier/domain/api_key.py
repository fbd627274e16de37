"""An API key, its scopes and its queues. Used by the command that makes keys, and by the API."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

ID_PATTERN = r"[a-z0-9]{12}"
# Programs make ids of 12; rows of other lengths may have been inserted.
KEY_ID_PATTERN = r"^[a-z0-9]{1,32}$"
# 32 random bytes, as secrets.token_urlsafe writes them.
TOKEN = re.compile(rf"hlr_({ID_PATTERN})_[A-Za-z0-9_-]{{43}}")

# A name goes into tables and logs: it is one line.
NAME_OF_KEY = r"^[^\x00-\x1f\x7f]{1,100}$"
MIN_RATE, MAX_RATE = 0.01, 1_000_000
MIN_DAYS, MAX_DAYS = 0.001, 3650
MAX_HOURS = 24 * MAX_DAYS

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH, _SECRET_BYTES = 12, 32


class Scope(StrEnum):
    """What a key may do."""

    ENQUEUE = "enqueue"
    READ = "read"
    OPERATE = "operate"  # change, cancel and retry
    ADMIN = "admin"  # all of the above, and whatever a later release adds


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored; of its secret only the SHA-256 of the whole token is stored.

    `queues` is None if every queue is allowed. A second hash is of the token before the last rotation.
    `moved_to` is the cell that takes its new jobs; None: this one.
    Units: rate_limit is requests a second, and None without a limit.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    hashes: tuple[bytes, ...] = field(repr=False)
    queues: frozenset[str] | None = None
    rate_limit: float | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_until: datetime | None = None
    moved_to: int | None = None

    @property
    def secret_mark(self) -> str:
        """Return what is another once the key has another secret, and says nothing of it."""
        return hashlib.sha256(self.hashes[0]).hexdigest()[:16]

    def is_opened_by(self, token: str) -> bool:
        """Return whether this is the key's token, in a time that does not depend on how much of it is right."""
        return self.has_hash(hash_of(token))

    def has_hash(self, given: bytes) -> bool:
        """Return whether this is the hash of a token of the key."""
        # Both are compared in any case, so that the time does not reveal which one matched.
        return any([hmac.compare_digest(given, kept) for kept in self.hashes])

    def may(self, scope: Scope) -> bool:
        """Return whether the key has this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_use(self, queue: str) -> bool:
        """Return whether the key may touch jobs of this queue."""
        return self.queues is None or queue in self.queues


def hash_of(token: str) -> bytes:
    """Return the hash that is stored of a token. A slow one would gain nothing: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode()).digest()


def new_id() -> str:
    """Return a random id for a key."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def id_of(text: str) -> str:
    """Return the id for the one key that is made for this text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    return "".join(_ID_LETTERS[number // 36**place % 36] for place in range(_ID_LENGTH))


def new_token(key_id: str) -> str:
    """Return a new token for the key of this id; it is shown once."""
    return f"hlr_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def bearer_in(header: str) -> str:
    """Return the token of an Authorization header, or "" if the scheme is not Bearer."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def id_in(token: str) -> str | None:
    """Return the id of the key that this token names, or None if it does not have the form of a token."""
    found = TOKEN.fullmatch(token)
    return found[1] if found else None
