"""The names of queues that callers have used recently, and how many more there may be."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from haulier.postgres.statements import STATEMENT_SECONDS, Connection, message, rows
from haulier.postgres.values import array


def find_queues(conn: Connection, names: Collection[str]) -> set[str]:
    """Return which of these queues have a row, and note that they are in use."""
    return {row["name"] for row in rows(conn, "find_queues", names=array(names))}


def add_queues(
    conn: Connection, names: Sequence[str], *, key_id: str | None, per_key: int, in_all: int, is_whole: bool
) -> set[str]:
    """Add rows for these queues in the API key's name, as far as the bounds allow; return which of them then have one.

    The bounds hold exactly, since callers that add names take turns. Queues that have a row already need no room, and
    `default` never does.

    With is_whole either all missing queues are added, or none.
    """
    added = message(
        conn,
        ["bounded", "take_turn_with_queues", "add_queues"],
        seconds=STATEMENT_SECONDS,
        prepared={},
        milliseconds=int(STATEMENT_SECONDS * 1000),
        names=array(names),
        key_id=key_id,
        per_key=per_key,
        in_all=in_all,
        is_whole=is_whole,
    )
    return {name for (name,) in added}
