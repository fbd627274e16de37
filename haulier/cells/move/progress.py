"""How far a move has come, and which command comes next."""

from __future__ import annotations

from typing import Any

from haulier.cells.move.sides import Move, Stage
from haulier.postgres.statements import rows

# The states of PostgreSQL, as people read them.
STATES = {"i": "waiting", "d": "copying", "f": "catching up", "s": "catching up", "r": "following"}
NEXT = {
    Stage.NONE: "prepare",
    Stage.COPYING: "wait until all tables follow",
    Stage.READY: "switch",
    Stage.CLOSED: "switch, or abort: no side takes jobs",
    Stage.CONFIRMED: "switch, or abort: no side takes jobs",
    Stage.MOVED: "nothing: the cell has been moved",
}


def stage_of(move: Move) -> Stage:
    """Return where the move stands."""
    source, target = move.both()
    if move.is_confirmed:
        return Stage.MOVED if move.is_moved else Stage.CONFIRMED
    if not move.is_published or move.link not in target.subscriptions:
        return Stage.CLOSED if source.is_closed else Stage.NONE
    if source.is_closed:
        return Stage.CLOSED
    return Stage.COPYING if not_following(move) else Stage.READY


def not_following(move: Move) -> list[str]:
    """Return the tables of which the target does not have everything yet, but for the last changes."""
    _, target = move.both()
    states = {found["name"]: found["state"] for found in rows(target.conn, "states_of_tables", link=move.link)}
    there = [found["name"] for found in rows(target.conn, "tables_of_side")]
    return [name for name in there if states.get(name) != "r"]


def progress(move: Move) -> dict[str, Any]:
    """Return where the move stands, for people and programs.

    Returns: {stage, next, source_closed, target_closed, connected, lag_bytes, tables: [{name, state, source_bytes,
        target_bytes}]}; of a move that has not begun or is over without tables. lag_bytes is what the source has
        written and the target has not confirmed; null without a replication slot.
    """
    move.reload()
    source, target = move.both()
    stage = stage_of(move)
    slot = move.slot() or {"is_active": False, "lag_bytes": None, "is_lost": False}
    return {
        "stage": str(stage),
        "next": "abort, then prepare: the replication slot is lost" if slot["is_lost"] else NEXT[stage],
        "source_closed": source.is_closed,
        "target_closed": target.is_closed,
        "connected": slot["is_active"],
        "lag_bytes": slot["lag_bytes"],
        "tables": [] if stage in (Stage.NONE, Stage.MOVED) or not target.has_schema else _tables(move),
    }


def _tables(move: Move) -> list[dict[str, Any]]:
    source, target = move.both()
    states = {found["name"]: found["state"] for found in rows(target.conn, "states_of_tables", link=move.link)}
    copied = {found["name"]: found["bytes"] for found in rows(target.conn, "tables_of_side")}
    return [
        {
            "name": found["name"],
            "state": STATES.get(states.get(found["name"], ""), "not moved"),
            "source_bytes": found["bytes"],
            "target_bytes": copied.get(found["name"], 0),
        }
        for found in rows(source.conn, "tables_of_side")
    ]
