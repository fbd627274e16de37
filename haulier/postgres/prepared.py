"""Statements that a connection prepares, so that they are parsed and planned once.

Prepared, a claim of one job takes two thirds of the time, and a settle of a thousand jobs 4 % less. Behind a pool each
transaction may have another process of the server, which does not know the prepared statements, or knows those of
another client: there statements are sent unprepared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from haulier.postgres.connection import is_pooled
from haulier.postgres.errors import sqlstate
from haulier.postgres.sql_files import SQL
from haulier.postgres.statements import Connection, Row, is_outside_transactions, message, prepare, rows_at_once


def as_prepared(name: str) -> tuple[str, str]:
    """Return the SQL that prepares a statement of the .sql files, and the SQL that calls it by the same parameters."""
    words = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", SQL[name])))
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${words.index(found[1]) + 1}", SQL[name])
    # The checksum keeps a statement that another release prepared from being taken for this one.
    known_as = f"haulier_{name}_{zlib.crc32(text.encode()):08x}"
    return f"PREPARE {known_as} AS {text}", f"EXECUTE {known_as}({', '.join(f'%({word})s' for word in words)});"


class Prepared:
    """The statements of these names, prepared on each connection of the process at its first use."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._calls: WeakKeyDictionary[Connection, Mapping[str, str]] = WeakKeyDictionary()
        # False once a prepared statement was lost: there is a pool in between that `is_pooled` does not see.
        self.are_kept = True

    def message(
        self, conn: Connection, names: Sequence[str], /, *, seconds: float, **parameters: Any
    ) -> list[tuple[Any, ...]]:
        """Run statements as `statements.message` does, prepared where this connection keeps what it has prepared.

        Raises: InvalidSqlStatementName where a prepared statement turns out to be lost, which `translated` makes an
                outage; from then on all statements are sent unprepared.
        """
        try:
            return message(conn, names, seconds=seconds, prepared=self._of(conn), **parameters)
        except sqlstate.InvalidSqlStatementName:
            self.are_kept = False
            raise

    def rows(self, conn: Connection, names: Sequence[str], /, **parameters: Any) -> list[Row]:
        """Run statements as `statements.rows_at_once` does, prepared and refused as those of `message`."""
        self.get_ready(conn)
        try:
            return rows_at_once(conn, names, prepared=self._calls.get(conn, {}) if self.are_kept else {}, **parameters)
        except sqlstate.InvalidSqlStatementName:
            self.are_kept = False
            raise

    def get_ready(self, conn: Connection) -> None:
        """Prepare the statements on this connection; not within a transaction, where nothing can be prepared."""
        if is_outside_transactions(conn):
            self._of(conn)

    def _of(self, conn: Connection) -> Mapping[str, str]:
        if not self.are_kept:
            return {}
        calls = self._calls.get(conn)
        if calls is None:
            # Noted first: where one PREPARE fails those before it stay, and would make a second try fail.
            calls = self._calls[conn] = {}
            try:
                if not is_pooled(conn):
                    calls = self._calls[conn] = _prepare_all(conn, self.names)
            except sqlstate.DuplicatePreparedStatement:
                self.are_kept = False
        return calls


def _prepare_all(conn: Connection, names: Sequence[str]) -> Mapping[str, str]:
    pairs = {name: as_prepared(name) for name in names}
    # In one round trip.
    prepare(conn, "\n".join(to_prepare for to_prepare, _ in pairs.values()))
    return {name: call for name, (_, call) in pairs.items()}
