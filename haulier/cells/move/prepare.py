"""The first step of a move: the target gets the schema, is closed, and begins to copy what the source has."""

from __future__ import annotations

import threading
import time

from haulier.cells.move.requirements import check_move
from haulier.cells.move.sides import LOOK_SECONDS, Move, MoveRefused, Side
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import ddl, rows, transaction
from haulier.queue.upkeep.migrate import MIGRATE_LOCK_SECONDS, check_schema, migrate

# For transactions on the source that have begun, before which no copy can begin.
SLOT_SECONDS = 60.0
# Until the target's server has connected to the source, which it tries again after 5 s.
CONNECT_SECONDS = 15.0


def prepare(move: Move, address: str) -> list[str]:
    """Let the target copy the source, and return the tables that are not moved. It can be repeated.

    Args:
        address: The source's address, as the target's server reaches it.

    Raises:
        MoveRefused: Something is missing, or the switch has begun. Nothing was changed that serves jobs.
        SchemaMismatch: The source needs another version of this program.
    """
    source, target = move.both()
    move.begin()
    if source.is_closed:
        raise MoveRefused(
            "the database of DATABASE_URL is closed: "
            + ("the cell has been moved" if move.is_moved else "run switch to continue, or abort")
        )
    check_move(move, address)
    if move.link not in target.subscriptions:
        _build(source, target)
    copy_partitions(source, target)
    left_out = _connect(move, address)
    wait_for_connection(move)
    return left_out


def _build(source: Side, target: Side) -> None:
    """Close the target, and give it the schema with the partitions of the source."""
    target.close()
    target.end_sessions(time.monotonic() + CONNECT_SECONDS)
    # Of an earlier move away from the target.
    for name in target.publications:
        ddl(target.conn, "drop_publication", identifier=name)
    migrate(target.conn, retention_days=1, cell=check_schema(source.conn))
    kept = {found["bound"] for found in rows(source.conn, "bounds_of_partitions")}
    with transaction(target.conn, seconds=60.0):
        for found in rows(target.conn, "bounds_of_partitions"):
            if found["bound"] not in kept:
                rows(target.conn, "drop_new_partition", name=found["name"])
        rows(target.conn, "empty_target", names=[found["name"] for found in rows(target.conn, "tables_of_side")])


def copy_partitions(source: Side, target: Side) -> None:
    """Make the partitions on the target that the source has: both have the same days, weeks or months."""
    present = rows(target.conn, "bounds_of_partitions")
    bounds, names = {found["bound"] for found in present}, {found["name"] for found in present}
    for found in rows(source.conn, "bounds_of_partitions"):
        if found["bound"] not in bounds:
            name = found["name"] if found["name"] not in names else f"{found['name']}_moved"
            rows(target.conn, "copy_partition", seconds=60.0, name=name, bound=found["bound"])


def _connect(move: Move, address: str) -> list[str]:
    """Make publication, slot and subscription, each unless it is there, and return the tables that they leave out."""
    source, target = move.both()
    here = [found["name"] for found in rows(source.conn, "tables_of_side")]
    there = {found["name"] for found in rows(target.conn, "tables_of_side")}
    if not move.is_published:
        # With the lock of `migrate`, which refuses to change the schema as long as it is published.
        with transaction(source.conn, seconds=60.0, lock_seconds=MIGRATE_LOCK_SECONDS):
            rows(source.conn, "lock_schema", seconds=60.0)
            check_schema(source.conn)
            ddl(source.conn, "drop_publication", identifier=move.confirmed_link)
            rows(source.conn, "publish", link=move.link, names=[name for name in here if name in there])
    _make_slot(move)
    if move.link not in target.subscriptions:
        # Only its name, address and slot: the transaction is local, and nothing is left behind if it fails.
        with transaction(target.conn):
            target.subscribe(move.link, address, "connect = false")
    ddl(target.conn, "enable_subscription", identifier=move.link)
    ddl(target.conn, "refresh_subscription", identifier=move.link)
    return [name for name in here if name not in there]


def _make_slot(move: Move) -> None:
    try:
        rows(move.source.conn, "make_slot", seconds=SLOT_SECONDS, link=move.link)
    except sqlstate.QueryCanceled:
        [found] = rows(move.source.conn, "oldest_writer") or [{"pid": "of another role"}]
        raise MoveRefused(
            f"a transaction on the server of DATABASE_URL has not ended within {SLOT_SECONDS:.0f} s (server process"
            f" {found['pid']}): end it, and run prepare again"
        ) from None


def wait_for_connection(move: Move) -> None:
    """Return once the target's server reads the changes of the source. Raises: MoveRefused."""
    deadline, pause = time.monotonic() + CONNECT_SECONDS, threading.Event()
    while not ((slot := move.slot()) and slot["is_active"]):
        if time.monotonic() > deadline:
            raise MoveRefused(
                "the server of TARGET_DATABASE_URL is subscribed, but has not connected to that of DATABASE_URL:"
                " see its log, correct SOURCE_DATABASE_URL, and run abort and prepare"
            )
        pause.wait(LOOK_SECONDS)
