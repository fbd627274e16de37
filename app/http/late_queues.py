"""Queues with whether they are late, by the setting LATE_SECONDS."""

from __future__ import annotations

from collections.abc import Sequence

from haulier.postgres.statements import Connection
from haulier.queue.numbers import lateness
from haulier.queue.numbers.stats import Queue

from .service import service


def with_lateness(conn: Connection, queues: Sequence[Queue]) -> list[Queue]:
    """Return the queues, each with whether it is late."""
    return lateness.with_lateness(conn, queues, late_seconds=service().config.late_seconds)
