"""Temporary databases on a server that has others: for `make demo` and the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from haulier.domain.errors import DatabaseUnavailable, HaulierError
from haulier.postgres.connection import close, connect
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, ddl

# Databases to connect to in order to create another; not every server has the first.
MAINTENANCE_DATABASES = ("postgres", "template1")


class ScratchRefused(HaulierError):
    """The server does not let us make our own database."""


@contextmanager
def scratch_database(server_url: str, name: str) -> Iterator[str]:
    """Give the URL of a new, empty database on that server; it is dropped on leaving.

    The database that the URL itself names is never opened. A database of the new name that a killed process left
    behind is replaced, unless somebody is connected to it.

    Raises: ScratchRefused.
    """
    url = create_database(server_url, name)
    try:
        yield url
    finally:
        conn = _connect_beside(server_url)
        ddl(conn, "drop_database", identifier=name)
        close(conn)


def create_database(server_url: str, name: str) -> str:
    """Return the URL of a new, empty database on that server.

    Raises: ScratchRefused.
    """
    conn = _connect_beside(server_url)
    try:
        ddl(conn, "drop_unused_database", identifier=name)
        ddl(conn, "create_database", identifier=name)
    except sqlstate.InsufficientPrivilege as error:
        raise ScratchRefused(
            f"this needs to create the database {name}, and the role of DATABASE_URL may not create one: run ALTER"
            " ROLE … CREATEDB, or unset DATABASE_URL to use an embedded PostgreSQL"
        ) from error
    except sqlstate.ObjectInUse as error:
        raise ScratchRefused(f"the database {name} is in use: another run uses it on the same server") from error
    finally:
        close(conn)
    return url_of(server_url, name)


def url_of(server_url: str, name: str) -> str:
    """Return the URL with another database's name in it."""
    parts = re.fullmatch(r"(?P<server>\w+://[^/?]*)(?:/[^?]*)?(?:\?(?P<query>.*))?", server_url)
    if parts is None:
        raise ScratchRefused("DATABASE_URL: must begin with postgres:// or postgresql://")
    query = "&".join(word for word in (parts["query"] or "").split("&") if word and not word.startswith("dbname="))
    return f"{parts['server']}/{name}" + (f"?{query}" if query else "")


def _connect_beside(server_url: str) -> Connection:
    for name in MAINTENANCE_DATABASES:
        try:
            return connect(url_of(server_url, name), application_name="haulier scratch")
        except DatabaseUnavailable as error:
            failure = error
    reason = " ".join(str(failure.__cause__).split())
    raise ScratchRefused(f"the server of DATABASE_URL cannot be reached: {reason}") from failure
