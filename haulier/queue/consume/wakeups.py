"""Wake-ups: who sleeps, and the database's knocks that there is work or that a running job was cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.connection import Notify, connect, is_pooled, is_readable, server_process
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection, rows

# Of a pool that lends a process for each transaction one is enough, when nobody else uses it.
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Knock:
    """One notification. Shape: worker_id is whom it is for, or None for everybody.

    It says that there is work; or else that this worker runs a job that was cancelled.
    """

    worker_id: UUID | None = None
    is_for_work: bool = True


def keeps_its_server(conn: Connection, url: str) -> bool:
    """Tell whether this connection has a process of the server to itself; False behind a pool that lends it for each
    transaction anew, where LISTEN would stay behind at a process that others are lent.

    Another connection to the same address is opened for a moment: only where processes are shared is it answered by
    this one's, or this one by another than before. One round may miss that while others use the pool, but not all.
    Raises: DatabaseUnavailable.
    """
    with translated():
        if not is_pooled(conn):
            return True
        mine = server_process(conn)
    with (
        suppress(DatabaseUnavailable),
        closing(connect(url, application_name="haulier listener")) as another,
        translated(),
    ):
        for _ in range(ROUNDS):
            if server_process(another) == mine or server_process(conn) != mine:
                return False
    # None may be left in a pool of sessions.
    with translated():
        return server_process(conn) == mine


def listen(conn: Connection) -> None:
    """Ask for the knocks on this connection, which `keeps_its_server`; where it only seems to none come.

    Raises: DatabaseUnavailable.
    """
    with translated():
        rows(conn, "listen")
    # What came with the answer says nothing of what will come without a question.
    conn.notifies.clear()


def unlisten(conn: Connection) -> None:
    """Ask for no knocks any more. Raises: DatabaseUnavailable."""
    with translated():
        rows(conn, "unlisten")


def call_myself(conn: Connection, worker_id: UUID) -> None:
    """Send a knock that this worker's own listener, on another connection, has to hear if it hears anything."""
    rows(conn, "call_myself", worker=worker_id)


def fall_asleep(conn: Connection, worker_id: UUID) -> None:
    """Ask to be woken by whoever enqueues; nothing where the worker was declared dead.

    An INSERT that looked for sleepers just before does not wake this one: look for jobs again afterwards.
    """
    rows(conn, "fall_asleep", worker=worker_id)


def get_up(conn: Connection, worker_id: UUID) -> None:
    """Ask no longer to be woken."""
    rows(conn, "get_up", worker=worker_id)


def wake_another(conn: Connection, worker_id: UUID) -> bool:
    """Wake one more sleeper of this worker's queues; tell whether there was any.

    For whoever claimed as many jobs as it asked for: a knock does not say how many there are.
    """
    return bool(rows(conn, "wake_another", worker=worker_id))


def pass_on(conn: Connection, worker_id: UUID) -> bool:
    """Ask no longer to be woken, and wake another sleeper of the same queues instead; tell whether there was any."""
    return bool(rows(conn, "pass_on", worker=worker_id))


def knocks(conn: Connection, *, wait: float, probe: float) -> Iterator[Knock | None]:
    """Give each knock as it comes, and None after every `wait` of silence.

    A connection can be dead and silent for hours: every `probe` it is asked. In between the caller may use it. The
    knocks end where another of the server's processes answers than before: a pool's, that nobody asked to listen.

    Units:  seconds.
    Raises: DatabaseUnavailable.
    """
    probed_at = time.monotonic()
    answered_by: int | None = None
    while True:
        with translated():
            # A statement of the caller's may have brought some already.
            if conn.notifies or is_readable(conn, wait):
                conn.poll()
            elif time.monotonic() - probed_at >= probe:
                before, answered_by = answered_by, server_process(conn)
                if before not in (None, answered_by):
                    return
                probed_at = time.monotonic()
            heard = [knock for note in conn.notifies if (knock := _knock(note))]
            conn.notifies.clear()
        yield from heard
        if not heard:
            yield None


def _knock(note: Notify) -> Knock | None:
    is_for_work = note.channel == "haulier_job"
    if is_for_work and not note.payload:
        return Knock()
    try:
        return Knock(UUID(note.payload), is_for_work)
    except ValueError:
        # Anybody who may connect may notify, and say anything.
        return None
