"""An address of several hosts: a connect ..."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.connection import connect
from haulier.postgres.statements import rows
from lab.proxy import proxy_to

# Only Linux has it, and gives a host that does not answer up before connect_timeout, which is 5 s.
USER_TIMEOUT = [socket.TCP_USER_TIMEOUT] if hasattr(socket, "TCP_USER_TIMEOUT") else []
SILENT_LIMIT = 4.0 if USER_TIMEOUT else 9.0


def closed() -> tuple[str, int]:
    """Return an address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """Give the address of a host that does not answer: the system drops what a full queue cannot take."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        yield listener.getsockname()


def over(database: str, *hosts: tuple[str, int], asks_for: str = "read-write") -> str:
    """Return the address of the database, with these hosts before its own."""
    own = parse_dsn(database)
    places = [*hosts, (own.get("host", "localhost"), own.get("port", "5432"))]
    names, ports = (",".join(str(each) for each in column) for column in zip(*places, strict=True))
    return make_dsn(database, host=names, port=ports, target_session_attrs=asks_for)


def test_goes_first_to_the_host_that_last_took_a_connection(database):
    address = closed()
    url = over(database, address)
    connect(url).close()
    with socket.create_server(address) as listener:
        listener.setblocking(False)
        with closing(connect(url)) as conn:
            assert rows(conn, "ping")

        with pytest.raises(BlockingIOError):
            listener.accept()


def test_keeps_the_order_of_hosts_if_any_may_be_a_standby(database):
    address = closed()
    url = make_dsn(over(database, address, asks_for="any"), connect_timeout=2)
    connect(url).close()
    with socket.create_server(address) as listener:
        listener.settimeout(0)
        with suppress(DatabaseUnavailable):
            connect(url).close()

        listener.accept()[0].close()


def test_gives_the_only_host_all_of_connect_timeout():
    with silent() as (host, port):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            connect(f"postgresql://{host}:{port}/jobs?connect_timeout=3")

    assert time.monotonic() - began > 2


def test_gives_up_a_silent_host_soon_and_an_open_connection_as_late_as_tcp(database):
    with silent() as address, proxy_to(database) as proxy:
        began = time.monotonic()
        with closing(connect(over(proxy.url, address))) as conn, socket.socket(fileno=os.dup(conn.fileno())) as copy:
            took = time.monotonic() - began
            waits = [copy.getsockopt(socket.IPPROTO_TCP, option) for option in USER_TIMEOUT]

    assert took < SILENT_LIMIT
    assert set(waits) <= {0}


def test_fails_as_with_one_host_if_none_takes_writes(database):
    with pytest.raises(DatabaseUnavailable):
        connect(over(database, closed(), closed(), asks_for="standby"))
