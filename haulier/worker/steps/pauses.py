"""Gives back the jobs of paused queues that were claimed ahead, and lets the jobs of other queues wait on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.worker.supply.buffer import Buffer


@dataclass(frozen=True, slots=True)
class Pauses:
    """Finds out which queues are paused, while jobs wait here to be started."""

    buffer: Buffer

    def look(self, conn: Connection) -> None:
        """Look once, if any job waits. Raises: DatabaseUnavailable; Refusal."""
        if self.buffer.is_empty():
            return
        asked_at = time.monotonic()
        self.buffer.look_for_paused(claims.paused(conn), asked_at=asked_at)
