"""Wake-ups: which workers sleep, and the notifications ("knocks") that wake them, or report a cancel or a pause."""

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

# How the notification of a queue's pause or resume begins; without it the name could be read as a worker's id.
OF_A_QUEUE = "queue "
# One round is enough to see a transaction pool that nobody else uses; a busy one may stay hidden for several.
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Knock:
    """One notification: that there is work, or else that the worker runs a job that was cancelled.

    `worker_id` is the worker that it is for; None: every worker. queue is one that was paused or resumed.
    """

    worker_id: UUID | None = None
    is_for_work: bool = True
    queue: str | None = None


def keeps_its_server(conn: Connection, url: str) -> bool:
    """Return whether this connection keeps one process of the server to itself.

    False behind a pool that lends a process for each transaction: LISTEN would stay with a process that serves other
    clients next. To find out, another connection to the same address is opened for a moment. Only if processes are
    shared can it be answered by this connection's process, or can this connection be answered by another process than
    before. While others use the pool one round may miss that, but not all rounds.

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
    # Also without another connection, of which a session pool may have none left.
    with translated():
        return server_process(conn) == mine


def listen(conn: Connection) -> None:
    """Ask for knocks on this connection, for which `keeps_its_server` is True; if that was wrong, none come.

    Raises: DatabaseUnavailable.
    """
    with translated():
        rows(conn, "listen")
    # Notifications that came with this reply do not show that any will come unasked.
    conn.notifies.clear()


def unlisten(conn: Connection) -> None:
    """Stop asking for knocks. Raises: DatabaseUnavailable."""
    with translated():
        rows(conn, "unlisten")


def call_myself(conn: Connection, worker_id: UUID) -> None:
    """Send a knock that must reach this worker's own listener, on another connection, if any knock does."""
    rows(conn, "call_myself", worker=worker_id)


def fall_asleep(conn: Connection, worker_id: UUID) -> None:
    """Ask to be woken when jobs are enqueued; do nothing if the worker was declared dead.

    An INSERT that looked for sleepers just before does not wake this worker: look for jobs again afterwards.
    """
    rows(conn, "fall_asleep", worker=worker_id)


def get_up(conn: Connection, worker_id: UUID) -> None:
    """Stop asking to be woken."""
    rows(conn, "get_up", worker=worker_id)


def wake_another(conn: Connection, worker_id: UUID) -> bool:
    """Wake one more sleeper of this worker's queues; return whether there was any.

    Call it after a claim that returned as many jobs as were asked for: a knock does not say how many there are.
    """
    return bool(rows(conn, "wake_another", worker=worker_id))


def pass_on(conn: Connection, worker_id: UUID) -> bool:
    """Stop asking to be woken, and wake another sleeper of the same queues instead; return whether there was any."""
    return bool(rows(conn, "pass_on", worker=worker_id))


def knocks(conn: Connection, *, wait: float, probe: float) -> Iterator[Knock | None]:
    """Yield each knock as it comes, and None after every `wait` without one.

    A dead connection can be silent for hours, so a statement is sent every `probe`. Between knocks the caller may use
    the connection. The knocks end where another process of the server answers than before: it is lent by a pool, and
    nobody asked it to listen.

    Units:  seconds.
    Raises: DatabaseUnavailable.
    """
    probed_at = time.monotonic()
    answered_by: int | None = None
    while True:
        with translated():
            # A statement of the caller may have brought notifications already.
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
    if is_for_work and note.payload.startswith(OF_A_QUEUE):
        return Knock(queue=note.payload.removeprefix(OF_A_QUEUE))
    try:
        return Knock(UUID(note.payload), is_for_work)
    except ValueError:
        # Anybody who may connect may send a notification, with any text.
        return None
