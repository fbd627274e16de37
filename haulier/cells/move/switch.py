"""The second step of a move: the source closes, the target catches up and opens. They are never both open.

1. Close the source, durably, and end the sessions that could still write.
2. Wait until the target has confirmed everything. If that takes too long, open the source again.
3. Copy the numbers of sequences, which are not replicated.
4. Rename the publication: the source never opens again by itself, and the target may be opened.
5. In one transaction on the target: drop the subscription, and open.

A mover that is killed leaves its place in the two databases: the next one continues there.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from haulier.cells.move.prepare import copy_partitions, wait_for_connection
from haulier.cells.move.progress import not_following, stage_of
from haulier.cells.move.requirements import check_before_switch
from haulier.cells.move.sides import LOOK_SECONDS, Move, MoveRefused, Side, Stage
from haulier.domain.errors import DatabaseUnavailable, HaulierError, reason
from haulier.postgres.errors import PostgresError, sqlstate
from haulier.postgres.statements import ddl, rows, transaction

# The target is this close before the source closes, so that it has little to catch up with.
MOST_BYTES = 16 * 1024 * 1024
ANALYZE_SECONDS = 600.0
# After the target has opened: for sessions that could not write, and for its last connection to the source.
TIDY_SECONDS = 5.0


def switch(move: Move, *, within: float) -> None:
    """Close the source and open the target. It can be repeated, and continues what was interrupted.

    Args:
        within: Seconds after which the source opens again if the target has not caught up.

    Raises:
        MoveRefused: It cannot be done now. The source is open, unless the message says that it is closed.
        DatabaseUnavailable: A server was lost; run switch again, or abort.
    """
    move.begin()
    stage = stage_of(move)
    if stage is Stage.MOVED:
        _tidy(move)
        return
    if stage is not Stage.CONFIRMED:
        _check(move)
        _close_and_wait(move, time.monotonic() + within)
    # From here a mover that is interrupted leaves both closed.
    try:
        if not move.is_confirmed:
            rows(move.source.conn, "mark_confirmed", link=move.link, confirmed_link=move.confirmed_link)
        _open_target(move)
    except PostgresError as error:
        raise DatabaseUnavailable(
            f"a server was lost, and perhaps no side takes jobs: run switch again, or abort ({reason(error)})"
        ) from error
    _tidy(move)


def _check(move: Move) -> None:
    source, target = move.both()
    if move.link not in target.subscriptions or not move.is_published:
        raise MoveRefused(
            "the target is not prepared: run " + ("abort, then prepare" if source.is_closed else "prepare")
        )
    if behind := not_following(move):
        raise MoveRefused(f"haulier.{behind[0]} is not copied yet: wait until status shows that all tables follow")
    check_before_switch(move)
    copy_partitions(source, target)
    slot = move.slot()
    if slot is None or slot["is_lost"]:
        raise MoveRefused(f"the replication slot {move.link} is lost: run abort, then prepare")
    if source.is_closed:
        return
    wait_for_connection(move)
    if (lag := slot["lag_bytes"]) > MOST_BYTES:
        raise MoveRefused(f"the target is {lag / 1e6:.0f} MB behind: wait until status shows less than 16 MB")
    rows(target.conn, "analyze", seconds=ANALYZE_SECONDS)


def _close_and_wait(move: Move, deadline: float) -> None:
    source = move.source
    try:
        source.close()
        source.end_sessions(deadline)
        # A role may have got a setting, and a transaction been prepared, since the checks.
        check_before_switch(move)
        _wait_until_confirmed(move, deadline)
    except BaseException as error:
        _open_again(source, error)
        raise


def _wait_until_confirmed(move: Move, deadline: float) -> None:
    conn, pause = move.source.conn, threading.Event()
    position = rows(conn, "last_position")[0]["position"]
    while not any(found["is_confirmed"] for found in rows(conn, "is_confirmed", link=move.link, position=position)):
        if time.monotonic() > deadline:
            raise MoveRefused("the target has not caught up in time: the source is open again. Run switch again")
        pause.wait(LOOK_SECONDS)


def _open_again(source: Side, error: BaseException) -> None:
    """Open the source, of which the target has not been said to have everything."""
    try:
        source.open()
    except (HaulierError, PostgresError):
        raise MoveRefused(
            "the source is closed and did not answer: run switch again to continue, or abort to open it"
        ) from error
    # They would be refused with each write until their programs connect again.
    with suppress(HaulierError, PostgresError):
        source.end_sessions(time.monotonic() + TIDY_SECONDS)


def _copy_sequences(source: Side, target: Side) -> None:
    found = rows(source.conn, "sequences")
    names, values = [row["name"] for row in found], [row["last_value"] for row in found]
    rows(target.conn, "set_sequences", names=names, last_values=values)


def _open_target(move: Move) -> None:
    """Open the target, and forget its subscription in the same transaction."""
    source, target = move.both()
    move.reload()
    # Only this transaction opens: a target without the subscription was emptied by an abort that was interrupted.
    if move.link not in target.subscriptions:
        raise MoveRefused("the target was emptied, and no side takes jobs: run abort to open the source")
    _copy_sequences(source, target)
    if not move.is_confirmed:
        raise MoveRefused("somebody has opened the source by hand: run abort, then prepare")
    with transaction(target.conn, seconds=30.0, lock_seconds=10.0):
        drop_subscription(target, move.link)
        target.open()


def drop_subscription(target: Side, link: str) -> None:
    """Drop the subscription, in a transaction, whether or not the source answers."""
    if link in target.subscriptions:
        for name in ("disable_subscription", "forget_slot", "drop_subscription"):
            ddl(target.conn, name, identifier=link)


def _tidy(move: Move) -> None:
    """Remove what only the move needed, as far as that works: the cell has been moved."""
    _, target = move.both()
    with suppress(HaulierError, PostgresError):
        target.end_sessions(time.monotonic() + TIDY_SECONDS)
    try:
        drop_slots(move)
    except PostgresError as error:
        raise DatabaseUnavailable(
            "the cell has been moved, but the source was lost: run switch again when it answers, to drop its"
            f" replication slot ({reason(error)})"
        ) from error


def drop_slots(move: Move) -> None:
    """Drop the slots of the move. Raises: MoveRefused."""
    deadline, pause = time.monotonic() + TIDY_SECONDS, threading.Event()
    while names := end_receivers(move):
        # A receiver has just come back.
        with suppress(sqlstate.ObjectInUse):
            rows(move.source.conn, "drop_slots", names=names)
        if time.monotonic() > deadline:
            raise MoveRefused(
                f"the replication slot {names[0]} on the source is still in use and keeps its WAL: run this command"
                f" again, or SELECT pg_drop_replication_slot('{names[0]}')"
            )
        pause.wait(LOOK_SECONDS)


def end_receivers(move: Move) -> list[str]:
    """End whoever reads from the slots of the move, unless this role may not, and return the names of the slots."""
    names = [found["name"] for found in rows(move.source.conn, "slots_of_move", link=move.link)]
    with suppress(sqlstate.InsufficientPrivilege):
        rows(move.source.conn, "end_receivers", names=names)
    return names
