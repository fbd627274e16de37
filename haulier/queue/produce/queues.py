"""The names of queues that callers have used lately, and how many more there may be."""

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
    """Give these queues rows in the key's name, as far as there is room, and return which of them have one then.

    Exact: whoever adds some does so in turn. Those that there are count for nothing, and `default` never does.
    Shape: is_whole asks for all that are missing, or none.
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
