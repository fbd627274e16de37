"""Giving a move up: the source serves, and the target has nothing of the cell. Only before the target was opened."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from haulier.cells.move.sides import LOOK_SECONDS, Move, MoveRefused, Side
from haulier.cells.move.switch import TIDY_SECONDS, drop_slots, drop_subscription, end_receivers
from haulier.domain.errors import DatabaseUnavailable, HaulierError, reason
from haulier.postgres.errors import PostgresError
from haulier.postgres.statements import ddl, rows, transaction


def abort(move: Move) -> None:
    """Drop what `prepare` made, on the target first, and open the source. It can be repeated.

    The target stays closed: programs may still have its address. If it does not answer, the source opens all the same,
    unless the target may have been opened.

    Raises:
        MoveRefused: The target was opened, or may have been.
        DatabaseUnavailable: The target did not answer, and is not cleaned up yet.
    """
    move.begin()
    if move.is_moved:
        raise MoveRefused("the cell has been moved: the target is open. To move it back, prepare a new move")
    problem = move.why_no_target
    if move.target is not None:
        try:
            _clean_target(move, move.target)
        except PostgresError as error:
            if move.is_confirmed:
                raise
            problem = f"the target is not cleaned up ({reason(error)})"
    elif move.is_confirmed:
        raise MoveRefused(
            f"{move.why_no_target}; it may have been opened, so that the source stays closed: run abort or switch again"
            " when it answers"
        )
    _release_source(move)
    if problem:
        raise DatabaseUnavailable(f"{problem}; the source is open. Run abort again to clean the target up")


def _clean_target(move: Move, target: Side) -> None:
    if not target.is_closed:
        # By hand, for instance because the source was lost.
        if move.source.is_closed:
            raise MoveRefused(
                "the target is open, and may serve, so that the source stays closed: close the target first, by ALTER"
                f" DATABASE {target.name}, with default_transaction_read_only = on"
            )
        return
    if not target.has_schema and move.link not in target.subscriptions:
        return
    if move.link not in target.subscriptions and rows(target.conn, "rows_of_target"):
        raise MoveRefused(
            "the database of TARGET_DATABASE_URL is closed and holds another cell: name the target of the move"
        )
    if move.link in target.subscriptions:
        ddl(target.conn, "disable_subscription", identifier=move.link)
        _end_copies(move, target)
    with transaction(target.conn, seconds=60.0, lock_seconds=10.0):
        drop_subscription(target, move.link)
        ddl(target.conn, "drop_schema", identifier="haulier")


def _end_copies(move: Move, target: Side) -> None:
    """End what still copies for the disabled subscription.

    A copy that is about to begin waits for all transactions on the source, and the DROP of the subscription for it.
    """
    deadline, pause = time.monotonic() + TIDY_SECONDS, threading.Event()
    end_receivers(move)
    # Before PostgreSQL 16 the subscription takes up to a second to notice that it is disabled, and begins more copies.
    while rows(target.conn, "subscribers", link=move.link) and time.monotonic() < deadline:
        pause.wait(LOOK_SECONDS)
        end_receivers(move)


def _release_source(move: Move) -> None:
    source, was_closed = move.source, move.source.is_closed
    if was_closed and not source.publications:
        raise MoveRefused(
            f"the source was closed by hand, not by a move: to open it, run ALTER DATABASE {source.name} RESET"
            " default_transaction_read_only"
        )
    with transaction(source.conn, seconds=30.0, lock_seconds=10.0):
        for name in (move.link, move.confirmed_link):
            ddl(source.conn, "drop_publication", identifier=name)
        if was_closed:
            source.open()
    if was_closed:
        with suppress(HaulierError, PostgresError):
            source.end_sessions(time.monotonic() + TIDY_SECONDS)
    drop_slots(move)
