"""Gives back jobs that were claimed ahead, when their queue is paused, and lets those of other queues wait on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.supply.buffer import Buffer


@dataclass(frozen=True, slots=True)
class Pauses:
    """Looks which queues are paused, while jobs wait here to be started."""

    buffer: Buffer

    def look(self, conn: Connection) -> None:
        """Look once, where any job waits. Raises: DatabaseUnavailable; Refusal."""
        if self.buffer.is_empty():
            return
        asked_at = time.monotonic()
        self.buffer.look_for_paused(consume.paused(conn), asked_at=asked_at)
