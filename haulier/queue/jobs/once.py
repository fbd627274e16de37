"""Has a job made once for each key, if what makes it takes no idempotency key: a copy, a run of a schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from haulier.postgres.statements import Connection, transaction
from haulier.queue.jobs.idempotency import Holder, lock_idempotency, take_idempotency


class Made(NamedTuple):
    """A job that was made. Not is_new: it was made under the key before, and may be gone by now."""

    job_id: UUID
    is_new: bool


def made_once(conn: Connection, key: str, make: Callable[[], UUID]) -> Made:
    """Return the job that `make` makes, in one transaction with its key; or the one that was made under it before.

    `key` is one of 288 characters at most in the space of idempotency keys, and kept as long as these.
    Raises: what `make` raises; then the key is still free.
    """
    with transaction(conn):
        # Before all else, so that of two who come at once the second finds the job of the first: it must not be refused
        # because that is there.
        if held := lock_idempotency(conn, key):
            return Made(UUID(held.job_id), False)
        made = make()
        take_idempotency(conn, {key: Holder(hashlib.sha256(key.encode()).digest(), str(made))})
        return Made(made, True)
