"""The database's knocks: that there is work, and that a running job was cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from psycopg2.extensions import Notify

from app.queue.connection import Connection, is_readable, rows, translated


@dataclass(frozen=True, slots=True)
class Knock:
    """One notification. Shape: worker_id is None for "there is work"; else that worker runs a cancelled job."""

    worker_id: UUID | None = None

    @property
    def is_for_work(self) -> bool:
        """Tell whether it says that there is work."""
        return self.worker_id is None


def listen(conn: Connection) -> None:
    """Ask for the knocks on this connection. Raises: DatabaseUnavailable."""
    with translated():
        rows(conn, "listen")


def knocks(conn: Connection, *, wait: float, probe: float) -> Iterator[Knock | None]:
    """Give each knock as it comes, and None after every `wait` of silence.

    A connection can be dead and silent for hours: every `probe` it is asked.

    Units:  seconds.
    Raises: DatabaseUnavailable.
    """
    probed_at = time.monotonic()
    while True:
        with translated():
            if is_readable(conn, wait):
                conn.poll()
            elif time.monotonic() - probed_at >= probe:
                rows(conn, "ping")
                probed_at = time.monotonic()
            heard = [knock for note in conn.notifies if (knock := _knock(note))]
            conn.notifies.clear()
        yield from heard
        if not heard:
            yield None


def _knock(note: Notify) -> Knock | None:
    if note.channel != "haulier_cancel":
        return Knock()
    # Anybody who may connect may notify, and say anything.
    with suppress(ValueError):
        return Knock(UUID(note.payload))
    return None
