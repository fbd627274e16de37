"""The cursor of a list: where the last page ended, opaque to clients. It holds a time and an id of the database."""

from __future__ import annotations

import base64
import re
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from haulier.domain.fingerprint import read_id

# 24 bytes; the first six bits of the time are 0 until long after year 9999.
CURSOR_PATTERN = r"^A[A-Za-z0-9_-]{31}$"

_LAST_ENTRY = 2**63 - 1

_FORM = struct.Struct(">q16s")
# Ids of groups of errors are signed.
_MASK = 2**64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def write_cursor(created_at: datetime, job_id: UUID) -> str:
    """Return the cursor of the page after this job."""
    since = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_FORM.pack(since, job_id.bytes)).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return (created_at, id) of the last job already seen. Raises: ValueError."""
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise ValueError("not a cursor")
    since, job_id = _FORM.unpack(base64.urlsafe_b64decode(cursor))
    return _EPOCH + timedelta(microseconds=min(since, _LAST)), UUID(bytes=job_id)


def cursor_after(last_seen: datetime, error_id: int) -> str:
    """Return the cursor of the page after this group."""
    return write_cursor(last_seen, UUID(int=error_id % _MASK))


def read_after(cursor: tuple[datetime, UUID]) -> tuple[datetime, int]:
    """Return when the last group already seen was seen, and its id."""
    return cursor[0], read_id(f"{cursor[1].int % _MASK:016x}")


def entry_cursor(at: datetime, entry_id: int) -> str:
    """Return the cursor of the page after this entry of the audit: its number replaces the id of a job."""
    return write_cursor(at, UUID(int=entry_id))


def read_entry_cursor(cursor: str) -> tuple[datetime, int]:
    """Return when the last entry already seen was made, and its number. Raises: ValueError."""
    return entry_of(read_cursor(cursor))


def entry_of(position: tuple[datetime, UUID]) -> tuple[datetime, int]:
    """Return the position that a cursor was read as, of an entry of the audit."""
    return position[0], min(position[1].int, _LAST_ENTRY)
