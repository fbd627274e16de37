"""One connection to Postgres: how it is opened, used and closed, and whether it still works."""

from __future__ import annotations

import math
import os
import select
import socket
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from haulier.domain.errors import ConfigError, HaulierError
from haulier.postgres.errors import ours, translated
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import read_json

Notify = psycopg2.extensions.Notify

# How long a silent host holds up a connect before the next one is tried. TCP repeats its first packet after 1 s, so
# that one may be lost. connect_timeout would not do: it also bounds TLS and the password, which a busy server does
# slowly, and older libpqs make at least 2 s of it.
SILENT_SECONDS = 1.2
# Only Linux has it; elsewhere a silent host costs connect_timeout.
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
# For each address with several hosts: the host and port that last took a connection of this process.
_last_good: dict[str, tuple[str, str]] = {}


def connect(url: str, *, application_name: str = "haulier") -> Connection:
    """Return a new connection in autocommit mode. Raises: DatabaseUnavailable; TooManyConnections; ConfigError."""
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": application_name,
        # A role or a database may default to an encoding that lacks some characters.
        "client_encoding": "UTF8",
        # A vanished machine's idle connections break after 11 s, which is before Patroni promotes a standby.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }
    given = parse(url)
    if "," in given.get("host", "") + given.get("hostaddr", ""):
        # The only host keeps connect_timeout: there is no other to try, and a slow link may lose two packets in a row.
        defaults["tcp_user_timeout"] = int(SILENT_SECONDS * 1000)
    hosts = _hosts(url, given)
    options = {name: value for name, value in defaults.items() if name not in given}
    if hosts:
        options["host"], options["port"] = (",".join(column) for column in zip(*hosts, strict=True))
    with translated():
        conn: Connection = psycopg2.connect(url, **options)
    if hosts:
        _last_good[url] = next((each for each in hosts if _is_of(conn, each)), hosts[0])
    if "tcp_user_timeout" in options:
        _await_acknowledgements(conn)
    conn.autocommit = True
    psycopg2.extras.register_default_jsonb(conn, globally=False, loads=read_json)
    return conn


def _hosts(url: str, given: dict[str, str]) -> list[tuple[str, str]]:
    """Return the hosts and ports of an address that has several, the last good one first; else nothing.

    A dead machine at the front of the list would otherwise cost each new connection SILENT_SECONDS, for days. Without
    target_session_attrs libpq takes any host, so one connection to a standby would lead all others there.
    """
    if given.get("target_session_attrs", "any") == "any":
        return []
    hosts, ports = given.get("host", "").split(","), given.get("port", "").split(",")
    if len(hosts) == 1 or "hostaddr" in given or len(ports) not in (1, len(hosts)):
        return []
    pairs = list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))
    return sorted(pairs, key=lambda pair: pair != _last_good.get(url))


def _is_of(conn: Connection, pair: tuple[str, str]) -> bool:
    host, port = pair
    return conn.info.host == host and port in ("", str(conn.info.port))


def _await_acknowledgements(conn: Connection) -> None:
    """Let a connection that is open wait for its packets' acknowledgement as long as TCP does, not SILENT_SECONDS."""
    if _USER_TIMEOUT is not None:
        # A Unix socket has no such option. A duplicate, because closing it must not close libpq's descriptor.
        with suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as duplicate:
            duplicate.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, 0)


def parse(url: str, name: str = "DATABASE_URL") -> dict[str, str]:
    """Return what a connection string says. Raises: ConfigError, which names the setting and quotes nothing."""
    try:
        return dict(psycopg2.extensions.parse_dsn(url))
    except psycopg2.ProgrammingError:
        # Not "from error": libpq's message may quote the password.
        raise ConfigError(f"{name} is not a valid connection string") from None


def split_password(url: str) -> tuple[str, str | None]:
    """Return a connection string without its password, and the password if it has one. Raises: ConfigError."""
    given = parse(url)
    password = given.pop("password", None)
    return psycopg2.extensions.make_dsn(**given), password


def to_primary(url: str) -> str:
    """Return the address for sessions that are to reach the primary also if its database is closed to writers.

    Of several hosts it leads to the one that is no standby, whether or not its sessions may write.
    """
    given = parse(url)
    if "target_session_attrs" not in given and "," not in given.get("host", ""):
        return url
    return psycopg2.extensions.make_dsn(**{**given, "target_session_attrs": "primary"})


def address_for_server(url: str) -> str:
    """Return the address as another PostgreSQL server uses it to replicate: it notices within 25 s if it is cut off."""
    limits = {"connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
    return psycopg2.extensions.make_dsn(**{**limits, **parse(to_primary(url))})


def server_process(conn: Connection) -> int:
    """Return the id of the server's process that answers now; behind a pool each transaction may have another."""
    [row] = rows(conn, "server_process")
    return int(row["pid"])


def is_pooled(conn: Connection) -> bool:
    """Return whether there is a pool in between, so that other clients may share the session and its settings.

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
    # No statement is under way, so that there is something to read only if the server has gone.
    return is_readable(conn, 0)


def is_readable(conn: Connection, seconds: float) -> bool:
    """Wait at most this long until the server has sent something, and return whether it has."""
    # Not select(), which refuses descriptors from 1024 on: handlers may have opened many.
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(math.ceil(seconds * 1000)))


class Opened(NamedTuple):
    """A connection, and when it was opened."""

    conn: Connection
    at: float


class Source(ABC):
    """Gives connections to threads."""

    def connection(self) -> AbstractContextManager[Connection]:
        """Give a connection for the block. A block inside it would need another one.

        Raises: DatabaseUnavailable; TooManyConnections; StatementRefused.
        """
        return _Use(self)

    @abstractmethod
    def take(self) -> Opened:
        """Return a connection that works. Raises: DatabaseUnavailable; TooManyConnections."""

    @abstractmethod
    def give_back(self, opened: Opened) -> None:
        """Keep the connection for the next use."""

    @abstractmethod
    def failed(self, opened: Opened, error: HaulierError) -> None:
        """Note the error that ended a use of the connection, and close the connection if it may be broken."""


class _Use:
    """A connection in use, with psycopg2's errors turned into ours; as fast as `translated`, for the same reason."""

    __slots__ = ("_opened", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> Connection:
        self._opened = self._source.take()
        return self._opened.conn

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self._source.give_back(self._opened)
            return
        known = ours(error) or error
        if isinstance(known, HaulierError):
            self._source.failed(self._opened, known)
        else:
            self._source.give_back(self._opened)
        if known is not error:
            raise known from error
