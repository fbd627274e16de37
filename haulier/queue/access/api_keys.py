"""API keys: make, find, rotate and revoke them, and borrow requests from their rates. Functions over a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from haulier.domain.api_key import ApiKey, Scope, hash_of, new_id, new_token
from haulier.domain.errors import KeyElsewhere, KeyExists, KeyNotFound, KeyRotated, KeysNotAllowed
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import utc

_TIMES = ("created_at", "expires_at", "last_used_at", "revoked_at")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that somebody asks for. `queues` is None for every queue. Units: rate_limit is requests a second."""

    name: str
    scopes: Collection[Scope]
    queues: Collection[str] | None = None
    rate_limit: float | None = None
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A key that is good now.

    Units: seconds until it or its previous token expires, by the database's clock; None: never.
    """

    key: ApiKey
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Loan:
    """Requests taken from a key's rate. Units: wait is the seconds until one more is available."""

    granted: int
    wait: float


def create(conn: Connection, asked: NewKey, *, actor: str | None, key_id: str | None = None) -> tuple[ApiKey, str]:
    """Make a key, of this id if one is given, and return it with its token, which is kept nowhere: it is shown once.

    Raises: KeysNotAllowed; KeyExists.
    """
    key_id = key_id or new_id()
    token = new_token(key_id)
    try:
        with _allowed("create"):
            [row] = rows(
                conn,
                "create_key",
                key_id=key_id,
                name=asked.name,
                hash=hash_of(token),
                scopes=sorted(asked.scopes),
                queues=None if asked.queues is None else sorted(asked.queues),
                rate_limit=asked.rate_limit,
                lifetime=asked.lifetime,
                actor=actor,
            )
    except sqlstate.UniqueViolation as error:
        raise KeyExists(key_id) from error
    return _key_of(row), token


def may_write(conn: Connection) -> bool:
    """Return whether the role of this connection may make, rotate and revoke keys."""
    [row] = rows(conn, "may_write_keys")
    return bool(row["is_allowed"])


@contextmanager
def _allowed(command: str) -> Iterator[None]:
    try:
        yield
    except sqlstate.InsufficientPrivilege as error:
        raise KeysNotAllowed(command) from error


def find(conn: Connection, key_id: str) -> Found | None:
    """Return the key of this id, or None if no such key is good now."""
    found = rows(conn, "find_key", key_id=key_id)
    return Found(_key_of(found[0]), found[0]["seconds"]) if found else None


def list_ids(conn: Connection) -> frozenset[str]:
    """Return the ids of all keys that were not revoked."""
    return frozenset(row["id"] for row in rows(conn, "list_key_ids"))


def any_exist(conn: Connection) -> bool:
    """Return whether a key was ever made."""
    [row] = rows(conn, "any_key")
    return bool(row["found"])


def list_keys(conn: Connection) -> list[ApiKey]:
    """Return every key, also those that were revoked or have expired, oldest first."""
    return [_key_of(row) for row in rows(conn, "list_keys")]


def rotate(conn: Connection, key_id: str, *, overlap: timedelta, actor: str | None) -> str:
    """Return a new token for the key; the one before it stays good for the overlap.

    Raises: KeyNotFound; KeyElsewhere; KeysNotAllowed.
    """
    return rotated(conn, key_id, overlap=overlap, actor=actor)[1]


def rotated(
    conn: Connection, key_id: str, *, overlap: timedelta, actor: str | None, seen: str | None = None
) -> tuple[ApiKey, str]:
    """Return the key with its new token, as `rotate` does; with `seen` only if its secret has that mark.

    Raises: KeyRotated if it has not; KeyElsewhere if another cell takes its new jobs; and as `rotate`.
    """
    token = new_token(key_id)
    with _allowed(f"rotate {key_id}"), transaction(conn):
        # Locked: of two who come at once the second finds the secret of the first.
        held = [] if seen is None else rows(conn, "lock_key", key_id=key_id)
        if any(_key_of(row).secret_mark != seen for row in held):
            raise KeyRotated(key_id)
        found = rows(conn, "rotate_key", key_id=key_id, hash=hash_of(token), overlap=overlap, actor=actor)
    if not found:
        if (good := find(conn, key_id)) and good.key.moved_to is not None:
            raise KeyElsewhere(key_id, good.key.moved_to)
        raise KeyNotFound(key_id)
    return _key_of(found[0]), token


def revoke(conn: Connection, key_id: str, *, actor: str | None) -> ApiKey:
    """End the key and return it; web processes stop taking it within 5 s. Raises: KeyNotFound; KeysNotAllowed."""
    with _allowed(f"revoke {key_id}"):
        revoked = rows(conn, "revoke_key", key_id=key_id, actor=actor)
    if not revoked:
        raise KeyNotFound(key_id)
    return _key_of(revoked[0])


def page_of_keys(conn: Connection, *, before: str | None, limit: int) -> tuple[list[ApiKey], bool]:
    """Return keys, newest first, behind the one of this id; and whether there are more."""
    found = [_key_of(row) for row in rows(conn, "page_of_keys", before_key=before, limit=limit + 1)]
    return found[:limit], len(found) > limit


def key_names(conn: Connection, *, queues: Collection[str] | None, limit: int) -> dict[str, str]:
    """Return the names of keys by their ids, revoked ones too: of those that may use no other queues; None: of all."""
    listed = None if queues is None else sorted(queues)
    return {row["id"]: row["name"] for row in rows(conn, "key_names", queues=listed, limit=limit)}


def touch(conn: Connection, key_id: str) -> None:
    """Note that the key is in use, unless that was noted less than a minute ago."""
    rows(conn, "touch_key", key_id=key_id)


def borrow(conn: Connection, key: ApiKey, *, asked: int, unused: int) -> Loan:
    """Take requests from the key's rate, as many as asked for if they are left; give back those of the last loan."""
    lent = rows(conn, "borrow_requests", key_id=key.id, rate=key.rate_limit, asked=asked, unused=unused)
    return Loan(lent[0]["granted"], lent[0]["wait"]) if lent else Loan(0, 1.0)


def _key_of(row: Row) -> ApiKey:
    hashes = [row["hash"], row["previous_hash"]]
    until = row["previous_until"]
    return ApiKey(
        id=row["id"],
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        queues=None if row["queues"] is None else frozenset(row["queues"]),
        rate_limit=row["rate_limit"],
        hashes=tuple(bytes(each) for each in hashes if each is not None),
        rotated_until=None if until is None else utc(until),
        moved_to=row["moved_to"],
        **{name: None if row[name] is None else utc(row[name]) for name in _TIMES},
    )
