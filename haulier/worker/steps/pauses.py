"""Gives back jobs that were claimed ahead, when their queue is paused: sooner than each would go back by itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.buffer import Buffer


@dataclass(frozen=True, slots=True)
class Pauses:
    """Looks which queues are paused, when a notification says that this has changed."""

    buffer: Buffer
    changed: threading.Event

    def look(self, conn: Connection) -> None:
        """Look once, where jobs wait here to be started. Raises: DatabaseUnavailable; Refusal."""
        if not self.changed.is_set():
            return
        self.changed.clear()
        if not self.buffer.is_empty():
            self.buffer.give_back_of(consume.paused(conn))
