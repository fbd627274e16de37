"""The sessions of the dashboard. Functions over a connection; of a session's token only the SHA-256 is stored."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from haulier.domain.api_key import hash_of
from haulier.domain.errors import KeyNotFound
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc

# No session lasts longer than this, however it is used.
LONGEST_SECONDS = 7 * 86_400.0
MOST_OF_A_KEY = 100
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has not expired.

    `key_hash` is the hash of the API key's token with which it was opened. now is the database's clock; `is_stale` is
    true if its last use was noted more than a minute ago.
    """

    key_id: str
    key_hash: bytes
    now: datetime
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A session as others see it. `seen_at` is its last use, to the minute."""

    created_at: datetime
    seen_at: datetime
    ends_at: datetime


def open_session(conn: Connection, *, key_id: str, key_hash: bytes, idle_seconds: float) -> str:
    """Return the token of a new session of this API key, which is kept nowhere; the audit says that somebody signed in.

    Units: it ends this many seconds after its last use.
    Raises: KeyNotFound if the key is no longer good, or has another secret by now.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    [row] = rows(
        conn,
        "open_session",
        hash=hash_of(token),
        key_id=key_id,
        key_hash=key_hash,
        idle=min(idle_seconds, LONGEST_SECONDS),
        most_sessions=MOST_OF_A_KEY - 1,
    )
    if not row["is_open"]:
        raise KeyNotFound(key_id)
    return token


def find_session(conn: Connection, token: str) -> Session | None:
    """Return the session of this token, or None if there is none that has not expired."""
    found = rows(conn, "find_session", hash=hash_of(token))
    if not found:
        return None
    [row] = found
    return Session(row["key_id"], bytes(row["key_hash"]), utc(row["now"]), row["is_stale"])


def touch_session(conn: Connection, token: str, *, idle_seconds: float) -> None:
    """Note that the session is in use: it ends this many seconds from now, but no later than LONGEST_SECONDS allow."""
    rows(conn, "touch_session", hash=hash_of(token), idle=idle_seconds, longest=LONGEST_SECONDS)


def close_session(conn: Connection, token: str) -> None:
    """End the session, if there is one."""
    rows(conn, "close_session", hash=hash_of(token))


def sign_out(conn: Connection, token: str) -> None:
    """End the session, if there is one, and note that in the audit."""
    rows(conn, "sign_out", hash=hash_of(token))


def sign_out_all(conn: Connection, key_id: str) -> None:
    """End every session of this API key, and note in the audit that it has signed out."""
    rows(conn, "sign_out_all", key_id=key_id)


def list_sessions(conn: Connection, key_id: str, *, limit: int) -> tuple[list[Opened], int]:
    """Return the sessions of this API key that are good, the last used first, and how many there are in all."""
    found = rows(conn, "list_sessions", key_id=key_id, limit=limit)
    page = [Opened(**{name: utc(row[name]) for name in ("created_at", "seen_at", "ends_at")}) for row in found]
    return page, found[0]["found"] if found else 0


def clock(conn: Connection) -> datetime:
    """Return the time by the database's clock."""
    [row] = rows(conn, "clock")
    return utc(row["now"])
