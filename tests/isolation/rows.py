"""Lets the database refuse single rows: triggers look up, by the row's id, what they are to raise, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from psycopg2.errors import DeadlockDetected
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from tests.isolation.wire import Refusal

# What can be refused of a job, and of a worker's row (`bury`).
#   claim   that it begins to run        settle  that it leaves `running`, however
#   result  that it ends succeeded       leave   that it ends                return  that it goes back
_MAKE = """
    CREATE SCHEMA isolation;
    CREATE TABLE isolation.refusal (
        id uuid NOT NULL, moment text NOT NULL, sqlstate text NOT NULL, constraint_name text NOT NULL,
        is_deferred boolean NOT NULL, PRIMARY KEY (id, moment)
    );
    CREATE FUNCTION isolation.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        moments text[];
        refused isolation.refusal;
    BEGIN
        IF TG_TABLE_NAME = 'worker' THEN
            moments := '{bury}';
        ELSIF TG_TABLE_NAME <> 'job' THEN
            moments := CASE WHEN NEW.status = 'succeeded' THEN '{result,leave,settle}' ELSE '{leave,settle}' END;
        ELSIF NEW.status = 'running' THEN
            moments := '{claim}';
        ELSE
            moments := '{return,settle}';
        END IF;
        SELECT * INTO refused FROM isolation.refusal
        WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END AND moment = ANY(moments)
            AND is_deferred = (TG_WHEN = 'AFTER');
        IF FOUND AND refused.constraint_name = '' THEN
            RAISE 'refused by the test' USING ERRCODE = refused.sqlstate;
        ELSIF FOUND THEN
            RAISE 'refused by the test' USING ERRCODE = refused.sqlstate, CONSTRAINT = refused.constraint_name;
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END
    $$;
"""
_TRIGGERS = """
    CREATE TRIGGER refuse BEFORE {event} FOR EACH ROW {condition} EXECUTE FUNCTION isolation.refuse();
    CREATE CONSTRAINT TRIGGER refuse_late AFTER {event} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW {condition} EXECUTE FUNCTION isolation.refuse();
"""
_EVENTS = {
    "UPDATE ON haulier.job": "WHEN (OLD.status IS DISTINCT FROM NEW.status)",
    "INSERT ON haulier.finished_job": "",
    "DELETE ON haulier.worker": "",
}


class Rows:
    """What the database refuses of which row, until `heal`."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def refuse(self, moment: str, culprits: Iterable[tuple[UUID, Refusal]], *, deferred: Collection[UUID] = ()) -> None:
        """Refuse this of each of these rows, each with its own error: at once, or at the commit."""
        with self._conn.cursor() as cursor:
            execute_values(
                cursor,
                "INSERT INTO isolation.refusal VALUES %s",
                [(id, moment, refusal.sqlstate, refusal.constraint, id in deferred) for id, refusal in culprits],
            )

    def heal(self) -> None:
        with self._conn.cursor() as cursor:
            cursor.execute("DELETE FROM isolation.refusal")


_REFUSE = """
    CREATE SCHEMA IF NOT EXISTS refusing;
    CREATE FUNCTION refusing.{name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE 'not this one' USING ERRCODE = '{sqlstate}', DETAIL = 'Failing row contains (secret).';
    END
    $$;
    CREATE {trigger} {name} {when} {event} ON haulier.{table} {deferred}
        FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refusing.{name}();
"""


@contextmanager
def refusing(
    conn: Connection, table: str, event: str, condition: str, sqlstate: str = "P0001", *, is_deferred: bool = False
) -> Iterator[None]:
    """Refuse this (INSERT, UPDATE or DELETE) to the rows of a condition over OLD or NEW: at once, or at the commit."""
    name = f"refuse_{table}_{event.lower()}"
    statement = _REFUSE.format(
        name=name,
        sqlstate=sqlstate,
        trigger="CONSTRAINT TRIGGER" if is_deferred else "TRIGGER",
        when="AFTER" if is_deferred else "BEFORE",
        event=event,
        table=table,
        deferred="DEFERRABLE INITIALLY DEFERRED" if is_deferred else "",
        condition=condition,
    )
    with conn.cursor() as cursor:
        cursor.execute(statement)
        try:
            yield
        finally:
            _drop(cursor, f"DROP FUNCTION refusing.{name}() CASCADE")


@contextmanager
def refusable_rows(conn: Connection) -> Iterator[Rows]:
    """Give the means to refuse rows of the database of this connection."""
    with conn.cursor() as cursor:
        cursor.execute(_MAKE)
        for event, condition in _EVENTS.items():
            cursor.execute(_TRIGGERS.format(event=event, condition=condition))
        try:
            yield Rows(conn)
        finally:
            _drop(cursor, "DROP SCHEMA isolation CASCADE")


def _drop(cursor: Cursor, statement: str) -> None:
    """Drop what refuses rows. Retries after a deadlock: workers still run, and lock the tables in another order."""
    for _ in range(9):
        with suppress(DeadlockDetected):
            cursor.execute(statement)
            return
    cursor.execute(statement)
