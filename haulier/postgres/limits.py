"""How many connections there may be, and whether this many more would be too many."""

from __future__ import annotations

import logging
from typing import NamedTuple

import psycopg2

from haulier.domain.errors import HaulierError
from haulier.postgres.statements import Connection, rows

log = logging.getLogger(__name__)


class Limit(NamedTuple):
    """How many connections there may be, to whom, and how many of them are open besides the one that asks."""

    whose: str
    most: int
    open: int


def too_many(conn: Connection, needed: int, *, beside_others: bool = True) -> str | None:
    """Return, as part of a sentence, which limit this many further connections would exceed; None if they would not.

    It never fails: it returns None if that cannot be found out, and behind a pool, if the limits only concern the
    pool's own connections. Without beside_others those that are open now are not counted.
    """
    try:
        found = limits(conn)
    except (HaulierError, psycopg2.Error) as error:
        log.debug("the connection limits cannot be read: %s", error)
        return None
    for limit in found:
        others = limit.open if beside_others else 0
        if needed + others > limit.most:
            beside = f" in addition to the {others} open now" if others else ""
            return f"up to {needed} database connections{beside} are more than the {limit.most} of {limit.whose}"
    return None


def limits(conn: Connection) -> list[Limit]:
    """Return the limits, the tightest first; none behind a pool."""
    [found] = rows(conn, "connection_limits")
    if found["pid"] != conn.get_backend_pid():
        return []
    limited = [
        Limit(whose, found[f"of_{name}"], found[f"open_of_{name}"] - 1)
        for name, whose in (
            ("role", f"the role {found['role']}"),
            ("database", f"the database {found['database']}"),
            ("server", "the server (max_connections minus reserved connections)"),
        )
        if found[f"of_{name}"] is not None
    ]
    return sorted(limited, key=lambda limit: limit.most - limit.open)
