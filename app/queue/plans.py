"""Statements that a connection prepares, so that they are parsed and planned once.

A claim of one job takes two thirds of the time then, and a settle of a thousand 4 % less. Behind a pool each
transaction may have another of the server's processes, which knows nothing of what was prepared, or has it from another
client: there all is sent as it is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from psycopg2 import errors

from app.queue.connection import Connection, is_pooled, prepare
from app.queue.queries import SQL

PREPARED = ("claim_by_index", "claim", "settle")


def prepared(name: str) -> tuple[str, str]:
    """Return the SQL that prepares a statement of queries.sql, and that which calls it with the same parameters."""
    words = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", SQL[name])))
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${words.index(found[1]) + 1}", SQL[name])
    # So that what another release prepared is not taken for it.
    known_as = f"haulier_{name}_{zlib.crc32(text.encode()):08x}"
    return f"PREPARE {known_as} AS {text}", f"EXECUTE {known_as}({', '.join(f'%({word})s' for word in words)});"


class Plans:
    """What each connection of the process has prepared."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Connection, Mapping[str, str]] = WeakKeyDictionary()
        # Something between has lost one: a pool that cannot be seen.
        self.are_kept = True

    @contextmanager
    def of(self, conn: Connection) -> Iterator[Mapping[str, str]]:
        """Give the calls, by name, of what this connection has prepared; nothing where that would not be kept.

        Raises: InvalidSqlStatementName, an outage to `translated`, where it turns out not to be; never again then.
        """
        if self.are_kept and conn not in self._of:
            # Where one cannot be prepared those before it are, and would be in the way of another try.
            self._of[conn] = {}
            try:
                if not is_pooled(conn):
                    self._of[conn] = _prepare_all(conn)
            except errors.DuplicatePreparedStatement:
                self.are_kept = False
        try:
            yield self._of[conn] if self.are_kept else {}
        except errors.InvalidSqlStatementName:
            self.are_kept = False
            raise


def _prepare_all(conn: Connection) -> Mapping[str, str]:
    pairs = {name: prepared(name) for name in PREPARED}
    # In one round trip.
    prepare(conn, "\n".join(to_prepare for to_prepare, _ in pairs.values()))
    return {name: call for name, (_, call) in pairs.items()}


plans = Plans()
