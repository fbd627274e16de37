"""Roles with the rights that grants.sql gives, in a database that belongs to a third."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate

ROOT = Path(__file__).parents[1]
GRANTS = ROOT / "grants.sql"
PARTS = ("owner", "web", "worker")


@dataclass(frozen=True)
class Roles:
    """Three roles, and the DSN of a database as a superuser and each of them opens it."""

    names: dict[str, str]
    url: str
    owner: str
    web: str
    worker: str

    @classmethod
    def of(cls, names: dict[str, str], url: str) -> Roles:
        """Return the roles with these names, in the database of this DSN."""
        return cls(names, url, *(url_as(url, names[part]) for part in PARTS))


def url_as(dsn: str, role: str) -> str:
    """Return the DSN for another role."""
    parts = {**parse_dsn(dsn), "user": role, "password": "swordfish"}
    return "postgresql://?" + "&".join(f"{name}={quote(value)}" for name, value in parts.items())


def apply_grants(conn: Connection, web: str, worker: str, *, web_makes_keys: str = "no") -> None:
    """Run grants.sql as psql does with -v web=… -v worker=…, in one transaction."""
    names = {"web": web, "worker": worker, "web_makes_keys": web_makes_keys}

    def fill(found: re.Match[str]) -> str:
        quoted = sql.Identifier if found[1] == '"' else sql.Literal
        return quoted(names[found[2]]).as_string(conn)

    # Not in comments, if psql does not fill in either; its own commands give the default of what is given here.
    statements = re.sub(r"^(--|\\).*$", "", GRANTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    with conn.cursor() as cursor:
        cursor.execute("BEGIN;" + re.sub(r""":(["'])(\w+)\1""", fill, statements) + "COMMIT")


def name_roles() -> dict[str, str]:
    """Return names that have to be quoted, by part."""
    mark = uuid.uuid4().hex[:8]
    return {part: f'Haulier "{part}" {mark}' for part in PARTS}


def make_roles(conn: Connection, dsn: str, names: dict[str, str], *, by: Connection | None = None) -> Roles:
    """Make the roles, and the schema with their rights; `conn` is a superuser's, in the empty database of the DSN.

    Args:
        by: The connection on which grants.sql is applied, if not `conn`.
    """
    with conn.cursor() as cursor:
        for name in names.values():
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'swordfish'").format(sql.Identifier(name)))
    let_create(conn, dsn, names["owner"])
    with closing(connect(url_as(dsn, names["owner"]))) as owning:
        migrate(owning, retention_days=30)
    apply_grants(by or conn, names["web"], names["worker"])
    return Roles.of(names, dsn)


def let_create(conn: Connection, dsn: str, owner: str) -> None:
    """Let a role make schemas in the database of the DSN: a right that a copy of the database does not have."""
    database = parse_dsn(dsn)["dbname"]
    with conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), sql.Identifier(owner))
        )


@contextmanager
def least_roles(conn: Connection, dsn: str, *, by: Connection | None = None) -> Iterator[Roles]:
    """Give new roles in the empty database of the DSN, and drop them; see `make_roles`."""
    names = name_roles()
    with conn.cursor() as cursor:
        try:
            yield make_roles(conn, dsn, names, by=by)
        finally:
            for name in names.values():
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
            for name in (names["web"], names["worker"], names["owner"]):
                cursor.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
            for name in (names["worker"], names["web"], names["owner"]):
                cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
