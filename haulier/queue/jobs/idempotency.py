"""Idempotency keys: which are taken, and by which requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import array
from haulier.queue.jobs.draft import Draft


class Holder(NamedTuple):
    """The request that holds a key, by its fingerprint, its job, and the cell of that; None: this one."""

    fingerprint: bytes | None
    job_id: str
    cell: int | None = None


def known_idempotency(conn: Connection, drafts: Sequence[Draft]) -> set[str]:
    """Return those scoped keys of the drafts that are taken already."""
    keys = [key for each in drafts if (key := each.scoped_key) is not None]
    return {row["key"] for row in rows(conn, "find_idempotency", keys=array(keys))} if keys else set()


def take_idempotency(conn: Connection, wanted: Mapping[str, Holder]) -> dict[str, Holder]:
    """Take the keys that are free, and return the holder that each key has now."""
    holders: dict[str, Holder] = {}
    # A key that is purged between the two statements is neither inserted nor found: by then it is free, so try again.
    while missing := [key for key in wanted if key not in holders]:
        taken = rows(
            conn,
            "take_idempotency",
            keys=array(missing),
            fingerprints=array(rf"\x{(wanted[key].fingerprint or b'').hex()}" for key in missing),
            ids=array(wanted[key].job_id for key in missing),
        )
        holders.update((row["key"], wanted[row["key"]]) for row in taken)
        if others := [key for key in missing if key not in holders]:
            for row in rows(conn, "find_idempotency", keys=array(others)):
                holders[row["key"]] = Holder(bytes(row["fingerprint"]), str(row["job_id"]), row["cell"])
    return holders


def lock_idempotency(conn: Connection, key: str) -> Holder | None:
    """Return who holds the scoped key; nobody else who asks so gets an answer until the end of the transaction."""
    rows(conn, "lock_idempotency", scoped_key=key)
    # Its own statement: only a new snapshot sees the row of whoever had the lock before.
    found = rows(conn, "find_idempotency", keys=array([key]))
    return Holder(bytes(found[0]["fingerprint"]), str(found[0]["job_id"])) if found else None
