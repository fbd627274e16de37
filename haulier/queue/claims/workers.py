"""A worker process: how it registers, renews its lease, and asks which jobs it runs and which it has to stop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from haulier.domain.claim import Fence, Held
from haulier.domain.vitals import Vitals
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array
from haulier.queue.rows import fence_of
from haulier.version import team_release, version


def register(
    conn: Connection, *, host: str, pid: int, threads: int, queues: Sequence[str], lease_seconds: float
) -> UUID:
    """Register a worker process and return the id under which it claims and beats."""
    [row] = rows(
        conn, "register", host=host, pid=pid, threads=threads, queues=list(queues) or None, lease=lease_seconds
    )
    return UUID(str(row["id"]))


def introduce(conn: Connection, worker_id: UUID, *, kinds: Sequence[str], release: str | None = None) -> None:
    """Say which program the worker runs, of which release of the team's, and which kinds it knows."""
    rows(conn, "introduce", worker=worker_id, version=version(), release=team_release(release), kinds=list(kinds))


def say_stopping(conn: Connection, worker_id: UUID) -> None:
    """Say that the worker was asked to stop, and claims no more."""
    rows(conn, "say_stopping", worker=worker_id)


def beat(conn: Connection, worker_id: UUID, *, scans_fail: bool = False, vitals: Vitals | None = None) -> float | None:
    """Renew the worker's lease and return the time since its last beat; None when the worker was declared dead.

    None means that its jobs are no longer its own. scans_fail is published in its row: its scans for lanes fail, so
    that it finds no job in a lane that is new to it. So are the vitals.
    Units: seconds, by the database's clock.
    """
    said = None if vitals is None else vitals.text
    found = rows(conn, "beat", worker=worker_id, scans_fail=scans_fail, vitals=said)
    return float(found[0]["seconds"]) if found else None


def has_turn(conn: Connection, worker_id: UUID, *, slot_seconds: float) -> bool:
    """Return whether it is this worker's turn to do what the workers of the same queues must not all do at once."""
    [row] = rows(conn, "has_turn", worker=worker_id, slot=slot_seconds)
    return bool(row["has_turn"])


def held(conn: Connection, worker_id: UUID, claims: Collection[UUID]) -> list[Held]:
    """Return the jobs that the database thinks this worker runs under these claims."""
    found = rows(conn, "held", worker=worker_id, claims=array(claims)) if claims else []
    return _held_of(found)


def strays(conn: Connection, worker_id: UUID, known: Collection[UUID]) -> list[Held]:
    """Return the jobs that the database thinks this worker runs under claims other than the known ones."""
    found = rows(conn, "strays", worker=worker_id, claims=array(known))
    return _held_of(found)


def _held_of(found: Sequence[Row]) -> list[Held]:
    return [Held(fence_of(row), row["cancel_requested"]) for row in found]


def cancelled(conn: Connection, worker_id: UUID) -> list[Fence]:
    """Return which of the jobs that this worker runs have to stop."""
    return [fence_of(row) for row in rows(conn, "cancelled", worker=worker_id)]


def deregister(conn: Connection, worker_id: UUID) -> None:
    """Delete the worker's row, after its last job was settled; the next sweep for orphans takes a job it still runs."""
    rows(conn, "deregister", worker=worker_id)
