"""Statements that a connection prepares, so that they are parsed and planned once.

Prepared, a claim of one job takes two thirds of the time, and a settle of a thousand jobs 4 % less. Behind a pool each
transaction may have another process of the server, which does not know the prepared statements, or knows those of
another client: there statements are sent unprepared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from haulier.postgres.connection import is_pooled
from haulier.postgres.errors import sqlstate
from haulier.postgres.sql_files import SQL
from haulier.postgres.statements import Connection, Row, first_row, is_outside_transactions, prepare, rows_at_once

T = TypeVar("T")


def as_prepared(name: str) -> tuple[str, str]:
    """Return the SQL that prepares a statement of the .sql files, and the SQL that calls it by the same parameters."""
    words = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", SQL[name])))
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${words.index(found[1]) + 1}", SQL[name])
    # The checksum keeps a statement that another release prepared from being taken for this one.
    known_as = f"haulier_{name}_{zlib.crc32(text.encode()):08x}"
    return f"PREPARE {known_as} AS {text}", f"EXECUTE {known_as}({', '.join(f'%({word})s' for word in words)});"


class Prepared:
    """The statements of these names, prepared on each connection of the process at its first use.

    `session` names a statement that sets something for as long as such a connection lasts.
    """

    def __init__(self, names: Sequence[str], *, session: str | None = None) -> None:
        self.names = names
        self._session = session
        self._calls: WeakKeyDictionary[Connection, Mapping[str, str]] = WeakKeyDictionary()
        # False once a prepared statement was lost: there is a pool in between that `is_pooled` does not see.
        self.are_kept = True

    def on(self, conn: Connection) -> AbstractContextManager[Mapping[str, str]]:
        """Give a block the SQL that calls each statement, by name; none if this connection cannot keep them.

        If the block ends with InvalidSqlStatementName, which `translated` makes an outage, a prepared statement was
        lost: from then on all statements are sent unprepared.
        """
        return _Calls(self, conn)

    def rows(self, conn: Connection, names: Sequence[str], /, **parameters: Any) -> list[Row]:
        """Run statements as `statements.rows_at_once` does, and again, unprepared, if a prepared one was lost."""
        return self._sent(conn, lambda calls: rows_at_once(conn, names, prepared=calls, **parameters))

    def first_row(self, conn: Connection, name: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        """Run a statement as `statements.first_row` does, and again, unprepared, if the prepared one was lost."""
        return self._sent(conn, lambda calls: first_row(conn, name, prepared=calls, **parameters))

    def _sent(self, conn: Connection, send: Callable[[Mapping[str, str]], T]) -> T:
        try:
            with self.on(conn) as calls:
                return send(calls)
        # Lost, or its rows have another form since a migration.
        except (sqlstate.InvalidSqlStatementName, sqlstate.FeatureNotSupported):
            # Nothing was done. In a transaction of the caller, nothing more can be.
            if not is_outside_transactions(conn):
                raise
            self._calls[conn] = {}
            return send({})

    def get_ready(self, conn: Connection) -> Mapping[str, str]:
        """Prepare the statements on this connection, and return the SQL that calls each.

        Within a transaction nothing can be prepared: there it returns what was prepared before.
        """
        if not self.are_kept:
            return {}
        calls = self._calls.get(conn)
        if calls is None and is_outside_transactions(conn):
            # Noted first: if one PREPARE fails those before it stay, and would make a second try fail.
            calls = self._calls[conn] = {}
            try:
                if not is_pooled(conn):
                    calls = self._calls[conn] = _prepare_all(conn, self.names, self._session)
            except sqlstate.DuplicatePreparedStatement:
                self.are_kept = False
        return calls or {}


class _Calls:
    """A block of `Prepared.on`. Not by @contextmanager, which takes longer: a lone job waits for it."""

    __slots__ = ("_conn", "_prepared")

    def __init__(self, prepared: Prepared, conn: Connection) -> None:
        self._prepared, self._conn = prepared, conn

    def __enter__(self) -> Mapping[str, str]:
        return self._prepared.get_ready(self._conn)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, sqlstate.InvalidSqlStatementName):
            self._prepared.are_kept = False


def _prepare_all(conn: Connection, names: Sequence[str], session: str | None) -> Mapping[str, str]:
    pairs = {name: as_prepared(name) for name in names}
    # In one round trip.
    prepare(conn, "\n".join([*([SQL[session]] if session else []), *(to_prepare for to_prepare, _ in pairs.values())]))
    return {name: call for name, (_, call) in pairs.items()}
