"""Functions that run with the owner's rights, called by every role with hostile arguments: none of them ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from tests.roles import apply_grants
from tests.schema import rights_page
from tests.schema.hostile import EXPIRED, WORLD, functions_of
from tests.schema.permitted import ask, quoted

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

# Invalid values; constraints; a state that does not allow it; no right. Not: an internal error; more time than 5 s.
CLEAN = ("22", "23", "55", "42501")
# What must hold of every row, whoever has called what.
HARM = {
    "audit": "NOT coalesce(actor = 'env' OR actor IN (SELECT id FROM haulier.api_key), true) OR length(target) > 200",
    "session": "expires_at > now() + interval '168 hours' OR key_id NOT IN (SELECT id FROM haulier.api_key"
    " WHERE hash = key_hash AND revoked_at IS NULL) AND key_id <> 'env'",
    "operation": "greatest(worked_until, next_at) > now() + interval '1 day' OR length(error) > 1000",
    "job": "scheduled_for > now() OR (schedule = 'held' AND scheduled_for < now())",
    "tick": "scheduled_at > now()",
    "schedule": "look_at > now() + interval '1 hour' OR decided_to > now()"
    " OR (name = 'filed' AND updated_at > created_at)"
    " OR NOT EXISTS (SELECT FROM haulier.schedule WHERE name = 'filed')",
    "api_key": "expires_at > now() + interval '3651 days'",
}


@contextmanager
def undone(conn: Connection) -> Iterator[None]:
    ask(conn, "BEGIN; SET LOCAL statement_timeout = '5s'")
    try:
        yield
    finally:
        ask(conn, "ROLLBACK")


class Content:
    """What a database holds, table by table. The partitions of the history count as a part of it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._tables = ask(
            conn,
            "SELECT relname::text, array_agg(attname::text) FILTER (WHERE atttypid = 'timestamptz'::regtype),"
            " array_agg(attname::text) FILTER (WHERE atttypid IN ('text'::regtype, 'text[]'::regtype))"
            " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
            " WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition GROUP BY 1",
        )
        sums = [f"SELECT '{name}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM haulier.{name} AS t"
                for name, _, _ in self._tables]  # fmt: skip
        partitions = (
            "SELECT 'partitions', md5(string_agg((pg_class.oid, relname, relispartition, description)::text, '|'"
            " ORDER BY pg_class.oid)) FROM pg_class LEFT JOIN pg_description ON objoid = pg_class.oid"
            " WHERE relnamespace = 'haulier'::regnamespace"
        )
        # To plan it takes longer than to run it.
        ask(conn, f"PREPARE sums AS {' UNION ALL '.join([*sums, partitions])}")
        self.before = self.read()

    def read(self) -> dict[str, str]:
        """Return a digest of each table."""
        return dict(ask(self._conn, "EXECUTE sums"))

    def changed(self) -> set[str]:
        """Return the tables that have changed since the beginning."""
        now = self.read()
        changed = {name for name in now.keys() | self.before.keys() if now.get(name) != self.before.get(name)}
        return {"finished_job" if name == "partitions" else name for name in changed}

    def harmed(self, changed: set[str]) -> list[str]:
        """Return the tables that hold what no program writes: times outside the calendar, long texts, and HARM."""
        harmed = []
        for name, times, texts in self._tables:
            checks = [HARM.get(name, "false")]
            checks += [f"{column} NOT BETWEEN '1970-01-01+00' AND '9999-12-31+00'" for column in times or ()]
            checks += [f"length({column}::text) > 50000" for column in texts or ()]
            if name in changed and ask(self._conn, f"SELECT 1 FROM haulier.{name} WHERE {' OR '.join(checks)} LIMIT 1"):
                harmed.append(name)
        return harmed


def run_as(conn: Connection, role: str, statement: str) -> str | None:
    """Run a statement as this role, in a transaction, and return its SQLSTATE; None: it succeeded."""
    # Unlike SET ROLE, this also changes who the session is.
    ask(conn, f"SET LOCAL SESSION AUTHORIZATION {quoted(role)}")
    try:
        ask(conn, statement)
    except psycopg2.Error as error:
        return error.pgcode or "the server has ended the connection"
    ask(conn, "SET LOCAL SESSION AUTHORIZATION DEFAULT")
    return None


@pytest.mark.parametrize("part", rights_page.ROLES)
def test_does_what_its_caller_could_not_do_by_the_page(roles, urls, super_conn, part):
    apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys="yes")
    ask(super_conn, f"{WORLD}; {EXPIRED}")
    content, listed = Content(super_conn), rights_page.functions()
    mine = rights_page.functions_of(part, web_makes_keys=True)
    role = parse_dsn(urls[part])["user"]

    faults: list[str] = []
    written: dict[str, set[str]] = {}
    for function in functions_of(super_conn):
        for statement in function.calls() if function.name in mine else ():
            with undone(super_conn):
                state = run_as(super_conn, role, statement)
                changed = set() if state else content.changed()
                harmed = content.harmed(changed)
            if state is None:
                written.setdefault(function.name, set()).update(changed)
            unlisted = changed - listed[function.name].writes
            is_hidden = changed and "audit" in listed[function.name].writes and "audit" not in changed
            if (state and not state.startswith(CLEAN)) or unlisted or harmed or is_hidden:
                faults.append(f"{state} {unlisted} {harmed} {is_hidden}: {statement[:300]}")

    assert not faults, "\n".join(faults)
    assert content.changed() == set()
    # The calls do something: together all that the page says. An application may not read what its functions would.
    done = {row.names: set().union(*(written.get(name, set()) for name in row.names)) for row in listed.values()}
    assert done == {row.names: row.writes if part in row.by else set() for row in listed.values()}
    assert part == "application" or written.keys() == mine
