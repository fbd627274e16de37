"""One connection to Postgres: how it is opened and closed, and whether it still works."""

from __future__ import annotations

import math
import select
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from haulier.domain.errors import ConfigError
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection, rows
from haulier.postgres.stored_json import read_json

Notify = psycopg2.extensions.Notify


def connect(url: str, *, application_name: str = "haulier") -> Connection:
    """Return a new connection in autocommit mode. Raises: DatabaseUnavailable; TooManyConnections; ConfigError."""
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": application_name,
        # A role or a database may default to an encoding that lacks some characters.
        "client_encoding": "UTF8",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    given = parse(url)
    with translated():
        conn: Connection = psycopg2.connect(
            url, **{name: value for name, value in defaults.items() if name not in given}
        )
    conn.autocommit = True
    psycopg2.extras.register_default_jsonb(conn, globally=False, loads=read_json)
    return conn


def parse(url: str, name: str = "DATABASE_URL") -> dict[str, str]:
    """Return what a connection string says. Raises: ConfigError, which names the setting and quotes nothing."""
    try:
        return dict(psycopg2.extensions.parse_dsn(url))
    except psycopg2.ProgrammingError:
        # Not "from error": libpq's message may quote the password.
        raise ConfigError(f"{name} cannot be read as a connection string") from None


def server_process(conn: Connection) -> int:
    """Return the id of the server's process that answers now; behind a pool each transaction may have another."""
    [row] = rows(conn, "server_process")
    return int(row["pid"])


def is_pooled(conn: Connection) -> bool:
    """Tell whether there is a pool in between, so that other clients may share the session and its settings.

    Source: PgBouncer gives its clients process ids of its own, since they have to send a cancel to it.
    """
    return server_process(conn) != conn.get_backend_pid()


def close(conn: Connection) -> None:
    """Close the connection, whatever state it is in."""
    with suppress(psycopg2.Error):
        conn.close()


def is_broken(conn: Connection) -> bool:
    """Tell, without a round trip, whether the connection can no longer be used."""
    if conn.closed or conn.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
        return True
    # No statement is under way, so that there is something to read only where the server has gone.
    return is_readable(conn, 0)


def is_readable(conn: Connection, seconds: float) -> bool:
    """Wait at most so long until the server has sent something, and tell whether it has."""
    # Not select(), which refuses descriptors from 1024 on: handlers may have opened many.
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(math.ceil(seconds * 1000)))
